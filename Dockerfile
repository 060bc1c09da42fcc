# One image: `serve` runs the gateway, `sandbox` the sandbox farm, `get 1005` asks once.
# Writes nothing at run time, so it can run with a read-only root file system.

# By digest. To renew it: `docker buildx imagetools inspect python:3.11-slim` tells today's.
ARG BASE=python:3.11-slim@sha256:9c900dea9e8fb7e16277c179b555cc72d29a352dbc33cff48ad5a0412fd5bfc7

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# Dependencies first: their layer is made anew only when the lock changes.
COPY requirements.lock ./
RUN python -m venv /venv \
    && /venv/bin/pip install --require-hashes --no-deps --only-binary :all: -r requirements.lock

# The build backend stays in this stage.
COPY requirements-build.lock ./
RUN pip install --require-hashes --no-deps --only-binary :all: -r requirements-build.lock

COPY pyproject.toml README.md LICENSE ./
COPY app app
RUN pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /venv/bin/pip install --no-index --no-deps /wheels/*.whl


FROM ${BASE}
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RFGW_HOST=0.0.0.0
COPY --from=build /venv /venv
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM

# For `serve`; run `sandbox` with --no-healthcheck.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["python", "-c", "\
import http.client, os, sys; \
gateway = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('RFGW_PORT') or 8000), timeout=2); \
gateway.request('GET', '/health/ready'); \
sys.exit(gateway.getresponse().status != 200)"]

ENTRYPOINT ["rfgw"]
CMD ["serve"]
