import Engine
import Foundation
import GGUF
import InferenceTypes
import Testing

/// Weights that are kept in a folder.
@Suite struct WeightCacheTests {
  private static let tokens: [TokenID] = [1, 60, 7, 33, 2, 2, 19]

  /// A folder of its own for each test, and what loading with it did.
  private final class Stage {
    let folder: URL
    let cache: WeightCache
    let tiny: TinyModel
    var warnings: [WeightCacheWarning] = []

    init(_ tiny: TinyModel = TinyModel(), waitLimit: Int = 300) throws {
      folder = FileManager.default.temporaryDirectory.appending(path: "weights-\(UUID())")
      cache = WeightCache(folder: folder.path, waitLimit: waitLimit)
      self.tiny = tiny
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    var path: String {
      get throws { try cache.path(modelHash: tiny.file().contentHash()) }
    }

    func load(kernels: Kernels = .best) throws -> Model {
      warnings = []
      return try Model(
        file: tiny.file(), kernels: kernels, threadCount: 2, weightCache: cache,
        warn: { warnings.append($0) })
    }

    func bytes() throws -> [UInt8] { try Array(Data(contentsOf: URL(filePath: path))) }

    func write(_ bytes: [UInt8]) throws {
      try Data(bytes).write(to: URL(filePath: path))
      try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
    }
  }

  private func rows(_ model: Model) throws -> [[UInt32]] {
    try InferenceEngine(model: model).rows(Self.tokens, pieces: [3])
  }

  @Test(arguments: WeightFormat.allCases)
  func everyFormatComputesTheSameBitsFromTheCache(format: WeightFormat) throws {
    let stage = try Stage(.storing(format))
    let expected = try rows(Model(file: stage.tiny.file()))
    // Written by the first, found by the others.
    #expect(try rows(stage.load()) == expected)
    let written = try stage.bytes()
    for kernels in Kernels.available {
      let model = try stage.load(kernels: kernels)
      #expect(model.sharesWeights)
      #expect(try rows(model) == expected, "\(kernels.name)")
    }
    #expect(stage.warnings.isEmpty)
    #expect(try stage.bytes() == written)
  }

  @Test(arguments: GoldenModel.all)
  func everyArchitectureFindsItsMatrices(golden: GoldenModel) throws {
    let stage = try Stage()
    let tokens = try golden.tokens()
    let expected = try golden.engine().rows(tokens, pieces: [tokens.count])
    for _ in 0..<2 {
      var warnings: [WeightCacheWarning] = []
      let model = try Model(
        file: golden.file(), weightCache: stage.cache, warn: { warnings.append($0) })
      #expect(model.sharesWeights && warnings.isEmpty)
      #expect(
        try InferenceEngine(model: model).rows(tokens, pieces: [tokens.count]) == expected)
    }
  }

  /// Each byte of the header and its table, and some of every matrix and the gaps around them.
  @Test func everyDamagedByteOfWeightsAndTableIsFoundAndWrittenAnew() throws {
    let stage = try Stage()
    let expected = try rows(stage.load())
    let original = try stage.bytes()
    let header = 4096
    let places =
      Array(0..<700) + Array(stride(from: header, to: original.count, by: 1021))
      + [original.count - 1]
    var harmless = 0
    for place in places {
      var bytes = original
      bytes[place] ^= 0x10
      try stage.write(bytes)
      let model = try stage.load()
      #expect(model.sharesWeights)
      if stage.warnings.isEmpty {
        // Between the matrices nothing is read.
        harmless += 1
        #expect(original[place] == 0, "byte \(place)")
      } else {
        guard case .replaced = try #require(stage.warnings.first) else {
          Issue.record("\(stage.warnings)")
          continue
        }
        #expect(stage.warnings.count == 1)
        #expect(try stage.bytes() == original)
      }
      if place % 7 == 0 { #expect(try rows(model) == expected) }
    }
    #expect(harmless < places.count / 2)
  }

  /// What a file that is not the right one is told to be.
  @Test func eachKindOfWrongFileIsNamedAndWrittenAnew() throws {
    let stage = try Stage()
    let expected = try rows(stage.load())
    let original = try stage.bytes()
    let path = try stage.path
    let layout = UInt32(original[8])
    func check(_ bytes: [UInt8], _ error: WeightCacheError) throws {
      try stage.write(bytes)
      #expect(try rows(stage.load()) == expected)
      #expect(stage.warnings == [.replaced(error)])
      #expect(try stage.bytes() == original)
    }
    try check([], .wrongSize(path: path, sizeBytes: 0, expected: 1))
    try check(Array(original[..<50]), .wrongSize(path: path, sizeBytes: 50, expected: 88))
    for count in [88, 500, 4096, original.count - 1] {
      try check(
        Array(original[..<count]),
        .wrongSize(path: path, sizeBytes: count, expected: original.count))
    }
    try check(
      original + [0],
      .wrongSize(path: path, sizeBytes: original.count + 1, expected: original.count))
    let foreign = Array(
      "GGUF and something else that is as long as a header must at least be, and longer".utf8)
    try check(
      foreign + [UInt8](repeating: 0, count: 30),
      .wrongMagic(path: path, found: Array("GGUF and".utf8)))
    var bytes = original
    bytes[8] += 1
    try check(bytes, .otherLayout(path: path, found: layout + 1, expected: layout))
    bytes = original
    bytes[24] ^= 1
    try check(bytes, .otherModel(path: path))
    bytes = original
    bytes[12] ^= 0xff
    bytes[15] = 0x7f
    try check(bytes, .damagedTable(path: path))
    bytes = original
    bytes[60] ^= 1
    try check(bytes, .damagedTable(path: path))
    bytes = original
    bytes[4096] ^= 1
    try check(bytes, .damagedMatrix(path: path, index: 0))
  }

  /// Tables that were not damaged but written wrongly: their checksum is right.
  @Test func impossibleTablesAreRefused() throws {
    let stage = try Stage()
    let expected = try rows(stage.load())
    let original = try stage.bytes()
    let path = try stage.path
    let count = Int(original[12])
    let end = 56 + 40 * count
    /// The second matrix with one number changed.
    func check(_ field: Int, _ value: UInt64, _ size: Int, _ word: String) throws {
      var bytes = original
      for index in 0..<size {
        bytes[56 + 40 + field + index] = UInt8(truncatingIfNeeded: value >> (8 * index))
      }
      var hash = ContentHash()
      hash.update(Array(bytes[..<end]))
      bytes.replaceSubrange(end..<end + 32, with: hash.finish())
      try stage.write(bytes)
      #expect(try rows(stage.load()) == expected)
      let warning = try #require(stage.warnings.first)
      #expect("\(warning)".contains(path) && "\(warning)".contains(word), "\(warning)")
      #expect(try stage.bytes() == original)
    }
    try check(0, 99, 4, "unknown format 99")
    try check(4, 1, 4, "unknown format")
    try check(8, 0, 8, "0 rows")
    try check(8, .max, 8, "rows of")
    try check(8, 1 << 31 - 1, 8, "bytes at")
    try check(8, 63, 8, "63 x 64 in Q4_1, the model's is 64 x 64")
    try check(16, 33, 8, "of 33 weights")
    try check(16, .max, 8, "rows of")
    try check(24, 4096, 8, "at 4096")
    try check(24, 0, 8, "at 0")
    try check(24, .max, 8, "expected a multiple")
    try check(24, UInt64(original.count / 4096 * 4096), 8, "and an end before")
    try check(32, 5, 8, "the weights of matrix 1 are damaged")
  }

  /// A model file of which one weight differs has a file of its own.
  @Test func otherModelsHaveOtherFiles() throws {
    let stage = try Stage()
    let bytes = stage.tiny.bytes()
    var changed = bytes
    changed[changed.count - 40] ^= 1
    let first = try GGUFFile(bytes: bytes)
    let second = try GGUFFile(bytes: changed)
    let paths = [first, second].map { stage.cache.path(modelHash: $0.contentHash()) }
    try #require(paths[0] != paths[1])
    for file in [first, second] {
      let own = try rows(Model(file: file))
      #expect(try rows(Model(file: file, weightCache: stage.cache)) == own)
      #expect(try rows(Model(file: file, weightCache: stage.cache)) == own)
    }
    for path in paths { #expect(FileManager.default.fileExists(atPath: path)) }
  }

  @Test func foldersThatCannotBeWrittenCostNothingButTheSharing() throws {
    let stage = try Stage()
    let expected = try rows(stage.load())
    let file = stage.folder.appending(path: "file").path
    try Data([1]).write(to: URL(filePath: file))
    // Nobody may make files in /proc, whoever they are.
    for folder in ["/proc", "/proc/weights", file, file + "/weights"] {
      var warnings: [WeightCacheWarning] = []
      let model = try Model(
        file: stage.tiny.file(), weightCache: WeightCache(folder: folder),
        warn: { warnings.append($0) })
      #expect(!model.sharesWeights)
      #expect(try rows(model) == expected)
      let warning = try #require(warnings.first)
      #expect(warnings.count == 1)
      guard case .notUsed = warning else {
        Issue.record("\(warning)")
        continue
      }
      #expect("\(warning)".contains(folder), "\(warning)")
    }
  }

  @Test func filesThatOthersMayWriteAreNotTrusted() throws {
    let stage = try Stage()
    let expected = try rows(stage.load())
    let path = try stage.path
    try FileManager.default.setAttributes([.posixPermissions: 0o666], ofItemAtPath: path)
    #expect(try rows(stage.load()) == expected)
    #expect(
      stage.warnings == [.replaced(.untrusted(path: path, owner: geteuid(), mode: 0o666))])
    #expect(try stage.load().sharesWeights)
    #expect(stage.warnings.isEmpty)
  }

  @Test func aFolderThatHoldsTheNameIsNotReplaced() throws {
    let stage = try Stage()
    let path = try stage.path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    #expect(try !stage.load().sharesWeights)
    #expect(stage.warnings.count == 2)
    #expect(stage.warnings.first == .replaced(.notARegularFile(path: path)))
  }

  /// Whoever waits in vain loads for itself.
  @Test func aHeldLockIsWaitedForOnlySoLong() throws {
    let stage = try Stage(waitLimit: 0)
    let expected = try rows(stage.load())
    let path = try stage.path
    try FileManager.default.removeItem(atPath: path)
    let lock = unsafe open(path + ".lock", O_RDWR)
    try #require(lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0)
    let model = try stage.load()
    #expect(!model.sharesWeights)
    #expect(try rows(model) == expected)
    #expect(stage.warnings == [.notUsed(.busy(path: path + ".lock", seconds: 0))])
    close(lock)
    #expect(try stage.load().sharesWeights)
  }

  /// Many at once: one writes, the others wait for it and map the same file.
  @Test func whoStartsTogetherSharesOneFile() async throws {
    let stage = try Stage()
    let expected = try rows(Model(file: stage.tiny.file()))
    let path = try stage.path
    let cache = stage.cache
    let file = try stage.tiny.file()
    // Each says which file it found, and whether all was as it should be.
    let inodes = try await withThrowingTaskGroup(of: UInt64.self) { group in
      for _ in 0..<8 {
        group.addTask {
          let model = try Model(
            file: file, weightCache: cache, warn: { Issue.record("\($0)") })
          #expect(model.sharesWeights)
          let own = try InferenceEngine(model: model).rows(Self.tokens, pieces: [3])
          #expect(own == expected)
          let attributes = try FileManager.default.attributesOfItem(atPath: path)
          return try #require(attributes[.systemFileNumber] as? UInt64)
        }
      }
      var inodes: Set<UInt64> = []
      for try await inode in group { inodes.insert(inode) }
      return inodes
    }
    #expect(inodes.count == 1)
    // Nothing but the file and its lock stays.
    #expect(
      try FileManager.default.contentsOfDirectory(atPath: stage.folder.path).sorted()
        == [path, path + ".lock"].map { URL(filePath: $0).lastPathComponent })
  }

  /// A model keeps its weights where its file is replaced or deleted.
  @Test func aReplacedFileDoesNotDisturbAModelInUse() throws {
    let stage = try Stage()
    let model = try stage.load()
    let expected = try rows(model)
    var bytes = try stage.bytes()
    try FileManager.default.removeItem(atPath: stage.path)
    bytes[5000] ^= 1
    try stage.write(bytes)
    let second = try stage.load()
    #expect(stage.warnings.count == 1)
    #expect(try rows(model) == expected)
    #expect(try rows(second) == expected)
  }

  @Test func aModelThatIsNoneIsTheModelsFault() throws {
    let stage = try Stage()
    var broken = TinyModel()
    broken.edit = { $0.removeAll { $0.name == "blk.1.ffn_up.weight" } }
    var warnings = 0
    #expect(throws: EngineError.missingTensor("blk.1.ffn_up.weight")) {
      try Model(file: broken.file(), weightCache: stage.cache, warn: { _ in warnings += 1 })
    }
    #expect(warnings == 0)
    let names = try FileManager.default.contentsOfDirectory(atPath: stage.folder.path)
    #expect(names.allSatisfy { $0.hasSuffix(".lock") }, "\(names)")
  }

  @Test func theFloatBackendHasNoPanels() throws {
    let stage = try Stage()
    let model = try Model(
      file: stage.tiny.file(), backend: .openBLAS, weightCache: stage.cache)
    #expect(!model.sharesWeights)
    #expect(!FileManager.default.fileExists(atPath: stage.folder.path))
  }

  /// The hash of a file is remembered until the file changes.
  @Test func hashesAreRememberedUntilTheFileChanges() throws {
    let stage = try Stage()
    try FileManager.default.createDirectory(
      at: stage.folder, withIntermediateDirectories: true)
    let path = stage.folder.appending(path: "model.gguf")
    func hash() throws -> (bytes: [UInt8], isRemembered: Bool) {
      try stage.cache.modelHash(of: GGUFFile(path: path.path))
    }
    /// Asks until the file is old enough to be remembered.
    func remember() throws -> [UInt8] {
      let deadline = ContinuousClock.now + .seconds(30)
      while ContinuousClock.now < deadline {
        let result = try hash()
        if result.isRemembered { return result.bytes }
      }
      Issue.record("the hash is never remembered")
      return []
    }
    var bytes = stage.tiny.bytes()
    try Data(bytes).write(to: path)
    let first = try hash()
    #expect(!first.isRemembered)
    #expect(try remember() == first.bytes)
    #expect(try first.bytes == GGUFFile(bytes: bytes).contentHash())
    // As long as before, in the same file, and with the time of the old one.
    let time = try FileManager.default.attributesOfItem(atPath: path.path)[.modificationDate]
    bytes[bytes.count - 40] ^= 1
    let handle = try FileHandle(forWritingTo: path)
    try handle.write(contentsOf: bytes)
    try handle.close()
    try FileManager.default.setAttributes(
      [.modificationDate: try #require(time)], ofItemAtPath: path.path)
    let second = try hash()
    #expect(!second.isRemembered)
    #expect(second.bytes != first.bytes)
    #expect(try remember() == second.bytes)
    // A damaged note is worth nothing.
    let note = try #require(
      FileManager.default.contentsOfDirectory(atPath: stage.folder.path)
        .first { $0.hasSuffix(".hash") })
    let notePath = stage.folder.appending(path: note)
    let original = try Array(Data(contentsOf: notePath))
    for place in original.indices {
      var changed = original
      changed[place] ^= 1
      try Data(changed).write(to: notePath)
      let result = try hash()
      #expect(!result.isRemembered && result.bytes == second.bytes, "byte \(place)")
    }
  }

  @Test func theStandardFolderIsInTheUsersCache() {
    func folder(_ environment: [String: String]) -> String? {
      WeightCache.standardFolder(environment: environment)
    }
    #expect(folder(["SLIPSTREAM_CACHE": "/a", "HOME": "/b"]) == "/a/weights")
    #expect(folder(["XDG_CACHE_HOME": "/a", "HOME": "/b"]) == "/a/slipstream/weights")
    #expect(folder(["XDG_CACHE_HOME": "a", "HOME": "/b"]) == "/b/.cache/slipstream/weights")
    #expect(folder([:]) == nil)
  }
}
