import Cluster
import Foundation
import HTTPAPI
import InferenceTypes
import TestSupport
import Testing

extension SecondRowTests {
  /// What daemons learned outlives them.
  @Suite struct DraftStoreTests {
    private let request = ReferenceRequest(
      prompt: "The history of the lighthouse begins", temperature: 0, seed: 1, tokenLimit: 40)

    private func temporaryFolder() throws -> String {
      let url = FileManager.default.temporaryDirectory
        .appending(path: "slipstream-stores-\(UUID().uuidString)")
      try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
      return url.path()
    }

    @Test func aVerifierRemembersAcrossARestart() async throws {
      let folder = try temporaryFolder()
      // What is left over in the temporary folder harms nobody.
      defer { try? FileManager.default.removeItem(atPath: folder) }
      let reference = try await References.shared.tokens(request)
      var steps: [Int] = []
      for _ in 0..<3 {
        let cluster = try await RunningCluster(
          specType: "recycle", options: ["--draft-store", folder])
        let result = try await cluster.complete(request)
        #expect(result.tokens == reference)
        steps.append(result.summary.verifyStepCount)
        #expect(try await cluster.verifier.stop() == 0)
        #expect(!cluster.verifier.log.contains("draft store"), "\(cluster.verifier.log)")
      }
      #expect(steps[2] < steps[0] * 3 / 4, "\(steps)")
      let names = try FileManager.default.contentsOfDirectory(atPath: folder)
      #expect(names.count == 2 && names.contains { $0.hasSuffix("-verifier.store") }, "\(names)")
    }

    /// Drafts of a text get better where the client's own texts were the same, and not where another
    /// client's were: on the verifier and on a drafter.
    @Test(arguments: [true, false])
    func oneTenantLearnsNothingOfAnother(onDrafter: Bool) async throws {
      let folder = try temporaryFolder()
      // What is left over in the temporary folder harms nobody.
      defer { try? FileManager.default.removeItem(atPath: folder) }
      let reference = try await References.shared.tokens(request)
      let isolation = ["--draft-store", folder, "--store-isolation", "tenant"]
      let cluster = try await RunningCluster(
        specType: onDrafter ? "none" : "recycle", options: isolation, keys: ["ann", "bob"])
      let drafter =
        onDrafter
        ? try await cluster.startDrafter(specType: "recycle", options: isolation) : nil
      func accepted(by client: String) async throws -> Int {
        let result = try await cluster.complete(request, apiKey: client)
        #expect(result.tokens == reference)
        return result.summary.acceptedTokenCount
      }
      // How soon drafts are worth their cost depends on what else the machine does.
      var counts: [Int] = []
      while counts.last ?? 0 < 24, counts.count < 20 {
        counts.append(try await accepted(by: "ann"))
      }
      #expect(counts.last ?? 0 >= 24, "\(counts)")
      #expect(try await accepted(by: "bob") < 16, "\(counts)")
      #expect(try await cluster.verifier.stop() == 0)
      if let drafter { #expect(try await drafter.stop() == 0) }
    }

    /// The same for texts whose drafts another rule judges, which have passes of their own. Nothing
    /// that was measured decides about such drafts, so the counts are exact.
    @Test func oneTenantLearnsNothingOfAnotherUnderAnyRule() async throws {
      let folder = try temporaryFolder()
      // What is left over in the temporary folder harms nobody.
      defer { try? FileManager.default.removeItem(atPath: folder) }
      let cluster = try await RunningCluster(
        specType: "recycle",
        options: [
          "--draft-store", folder, "--store-isolation", "tenant", "--allow-verify-rules", "ratio",
        ], keys: ["ann", "bob"])
      func accepted(by client: String) async throws -> Int {
        let result = try await cluster.complete(
          request, apiKey: client, rule: VerifyRuleParameters(.ratio))
        return result.summary.acceptedTokenCount
      }
      let first = try await accepted(by: "ann")
      _ = try await accepted(by: "ann")
      let third = try await accepted(by: "ann")
      #expect(third > first)
      #expect(try await accepted(by: "bob") == first)
    }

    @Test func aBadStoreIsNamedAndHarmless() async throws {
      let folder = try temporaryFolder()
      // What is left over in the temporary folder harms nobody.
      defer { try? FileManager.default.removeItem(atPath: folder) }
      let path = folder + "/a.store"
      try Data("SLPDRAFT and then nothing".utf8).write(to: URL(filePath: path))
      let cluster = try await RunningCluster(specType: "recycle", options: ["--draft-store", path])
      let result = try await cluster.complete(request)
      let reference = try await References.shared.tokens(request)
      #expect(result.tokens == reference)
      #expect(try await cluster.verifier.stop() == 0)
      #expect(cluster.verifier.log.contains("format version"), "\(cluster.verifier.log)")
      #expect(FileManager.default.fileExists(atPath: path + ".bad"))
    }
  }
}
