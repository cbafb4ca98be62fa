import Cluster
import HTTPAPI
import InferenceTypes
import Testing

/// Who asks reaches the cluster, as a hash.
@Suite(.timeLimit(.minutes(1)))
struct TenantTests {
  private func tenants(
    keys: [String], _ requests: [(key: String?, fields: String)]
  ) async throws -> [TenantID?] {
    let service = ScriptedService(saying: ["a"])
    try await withServer(service, keys: keys) { port in
      for request in requests {
        let answer = try await send(
          "POST", "/v1/completions", #"{"prompt":"x"\#(request.fields)}"#,
          headers: request.key.map { ["Authorization: Bearer \($0)"] } ?? [], to: port)
        #expect(answer.status == 200)
      }
    }
    return service.requests.map(\.tenant)
  }

  @Test func keysAndUsersAreTenants() async throws {
    let found = try await tenants(
      keys: ["one", "two"],
      [
        ("one", ""), ("two", ""), ("one", #","user":"ann""#), ("two", #","user":"ann""#),
        ("one", #","user":"bob","safety_identifier":"ann""#), ("one", #","user":null"#),
      ])
    func tenant(_ account: String, _ user: String) -> TenantID {
      TenantID(account: account, user: user)
    }
    #expect(
      found == [
        tenant("one", ""), tenant("two", ""), tenant("one", "ann"), tenant("two", "ann"),
        tenant("one", "ann"), tenant("one", ""),
      ])
  }

  /// Where nobody has to show a key, one that is shown means nothing.
  @Test func withoutKeysOnlyUsersAreTenants() async throws {
    let found = try await tenants(
      keys: [], [(nil, ""), ("anything", ""), (nil, #","user":"ann""#)])
    let nobody = TenantID(account: "", user: "")
    #expect(found == [nobody, nobody, TenantID(account: "", user: "ann")])
  }

  @Test func aUserIsAText() async throws {
    try await withServer(ScriptedService(saying: ["a"])) { port in
      for name in ["user", "safety_identifier"] {
        let answer = try await send(
          "POST", "/v1/completions", #"{"prompt":"x","\#(name)":5}"#, to: port)
        #expect(answer.status == 400)
        #expect(answer.body.contains("\(name) must be a string"))
      }
    }
  }
}
