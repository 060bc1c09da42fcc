"""A REST/JSON gateway over the Renderfarm.fi XML-RPC API. This docstring is the map.

Imports point downwards only; ``make lint`` refuses all others::

    cli         serve, sandbox, demo, get, doctor, key, openapi
    main        create_app(settings): what ``uvicorn --factory app.main:create_app`` runs
    services    everything that lives as long as the process, built complete, closed in one place
    wiring      makes each part from the settings
    resources   what we serve: one file per resource, with its model, its call and its routes
    docs        what people and generators read: OpenAPI, Swagger UI, problem pages, demo page
    edge        every request before and after its route: ids, CORS, keys, limits, the fast path
    login       a visitor's login at the farm: sealed cookies, and the three steps of OAuth 1.0
    api         what an answer is: problems, caching headers, lists, event streams
    cluster     several processes as one, over Redis or Valkey
    cache       kept answers of this process: memory, records, snapshot
    upstream    how the farm is spoken to: signing, XML-RPC, retries, bulkhead, circuit breaker
    core        calls, kept answers, request coalescing; declares in ``ports`` what it needs
    server      processes, one process's server, its connections
    telemetry   log lines, metrics, timings, traces
    config      settings and where their values come from
    sandbox     the farm's stand-in, a program of its own that shares only the XML-RPC codec

What a package must not know stands in its ``__init__.py``.
"""
