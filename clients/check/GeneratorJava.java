import java.util.List;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.ApiResponse;
import org.openapitools.client.api.SessionsApi;
import org.openapitools.client.model.Code;
import org.openapitools.client.model.Phase;
import org.openapitools.client.model.Problem;
import org.openapitools.client.model.Session;
import org.openapitools.client.model.SessionField;
import org.openapitools.client.model.SessionItem;

/** A reader of sessions over openapi-generator's java client. Its one argument is an address. */
class GeneratorJava {
  static void check(boolean holds, Object seen) {
    if (!holds) throw new AssertionError(seen);
  }

  interface Call {
    void make() throws ApiException;
  }

  static ApiException failure(Call call) {
    try {
      call.make();
    } catch (ApiException error) {
      return error;
    }
    throw new AssertionError("it did not fail");
  }

  public static void main(String[] arguments) throws Exception {
    ApiClient client = new ApiClient();
    client.updateBaseUri(arguments[0]);
    SessionsApi sessions = new SessionsApi(client);

    ApiResponse<Session> found = sessions.getSessionWithHttpInfo(42, null, null, null, null);
    check(found.getData().getTitle().equals("Sandbox session 42"), found.getData());
    check(found.getData().getProgress().getPhase() == Phase.COMPLETED, found.getData());
    check(found.getHeaders().get("cache-status").get(0).startsWith("rfgw; "), found.getHeaders());

    String tag = found.getHeaders().get("etag").get(0);
    ApiException unchanged = failure(() -> sessions.getSession(42, null, null, tag, null));
    check(unchanged.getCode() == 304, unchanged);

    List<SessionItem> items = sessions.getSessions(List.of(42, 300001), null, null).getItems();
    check(items.get(0).getSession().getId() == 42, items);
    check(items.get(1).getProblem().getCode() == Code.SESSION_NOT_FOUND, items);

    Session part = sessions.getSession(42, List.of(SessionField.TITLE), null, null, null);
    check(part.getTitle().equals("Sandbox session 42"), part);
    check(part.getState() == null, "a member that was not asked for is null, whatever its type says");

    ApiException refused = failure(() -> sessions.getSession(300001, null, null, null, null));
    String said = refused.getResponseBody();
    Problem problem = client.getObjectMapper().readValue(said, Problem.class);
    check(refused.getCode() == 404 && problem.getCode() == Code.SESSION_NOT_FOUND, refused);
    System.out.println("read, and told apart " + problem.getCode());
  }
}
