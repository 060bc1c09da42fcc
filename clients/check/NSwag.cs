using System;
using System.Linq;
using System.Net.Http;
using System.Threading.Tasks;
using Newtonsoft.Json;
using Renderfarm;

/// <summary>A reader of sessions over NSwag's C# client. Its one argument is an address.</summary>
static class Program
{
    static void Check(bool holds, object seen)
    {
        if (!holds) throw new Exception($"{seen}");
    }

    static async Task<ApiException> Failure(Task call)
    {
        try
        {
            await call;
        }
        catch (ApiException error)
        {
            return error;
        }
        throw new Exception("it did not fail");
    }

    static async Task Read(string address)
    {
        var http = new HttpClient();
        var client = new GatewayClient(http) { BaseUrl = address };

        var session = await client.GetSessionAsync(42);
        Check(session.Title == "Sandbox session 42", session.Title);
        Check(session.Progress.Phase == Phase.Completed, session.Progress.Phase);

        var raw = await http.GetAsync($"{address}/sessions/42?fields=title");
        var part = JsonConvert.DeserializeObject<SessionPart>(await raw.Content.ReadAsStringAsync());
        Check(part.Title == session.Title && part.Id == 0, part.Title);
        raw = await http.GetAsync($"{address}/sessions/42");
        Check(raw.Headers.GetValues("Cache-Status").Single().StartsWith("rfgw; "), raw);
        var unchanged = await Failure(client.GetSessionAsync(42, if_None_Match: $"{raw.Headers.ETag}"));
        Check(unchanged.StatusCode == 304, unchanged);

        var items = (await client.GetSessionsAsync(new[] { 42, 300001 })).Items.ToList();
        Check(items[0].Session.Id == 42 && items[0].Problem == null, items[0].Status);
        Check(items[1].Problem.Code == Code.Session_not_found, items[1].Status);

        var refused = (ApiException<Problem>)await Failure(client.GetSessionAsync(300001));
        Check(refused.StatusCode == 404 && refused.Result.Code == Code.Session_not_found, refused);
        Console.WriteLine($"read, and told apart {refused.Result.Code}");
    }

    static void Main(string[] arguments) => Read(arguments[0]).GetAwaiter().GetResult();
}
