import Cluster
import Decoding
import Foundation
import InferenceTypes
import Synchronization
import Testing

/// A folder that goes with this object, and what was reported about the store in it.
private final class StoreFolder: Sendable {
  let url = FileManager.default.temporaryDirectory
    .appending(path: "slipstream-store-\(UUID().uuidString)")
  private let noticed = Mutex<[DraftStoreNotice]>([])

  deinit {
    for name in [url.path(), url.path() + ".lock"] {
      // What is left over in the temporary folder harms nobody.
      try? FileManager.default.removeItem(atPath: name)
    }
  }

  var path: String { url.appending(path: "s/a.store").path() }
  var notices: [DraftStoreNotice] { noticed.withLock { $0 } }

  func file(path: String? = nil, stamp: StoreStamp = StoreFolder.stamp()) -> DraftStoreFile {
    DraftStoreFile(path: path ?? self.path, stamp: stamp) { [weak self] notice in
      self?.noticed.withLock { $0.append(notice) }
    }
  }

  static func stamp(model: UInt8 = 1) -> StoreStamp {
    StoreStamp(
      modelFingerprint: [UInt8](repeating: model, count: 32),
      tokenizerFingerprint: [UInt8](repeating: 2, count: 32), vocabularyCount: 20)
  }

  static func shelf(taught: Bool = false) -> SourceShelf {
    var shelf = SourceShelf(isolation: .shared, vocabularyCount: 20) {
      LocalSources([.recycling, .trigram, .suffix, .ngram, .aded], vocabularyCount: 20)
    }
    if taught {
      shelf.use(nil) {
        $0.observe(prompt: [1, 2, 3, 4, 1, 2, 5])
        $0.remember([1, 2, 3])
      }
    }
    return shelf
  }

  func bytes(_ path: String? = nil) throws -> Data {
    try Data(contentsOf: URL(filePath: path ?? self.path))
  }

  /// Puts bytes where the store is to be.
  func write(_ bytes: Data) throws {
    try FileManager.default.createDirectory(
      at: url.appending(path: "s"), withIntermediateDirectories: true)
    try bytes.write(to: URL(filePath: path))
  }

  /// A file as a process before left it.
  func saved() throws -> Data {
    let shelf = Self.shelf(taught: true)
    #expect(file().save(shelf))
    return try bytes()
  }

  var names: [String] {
    get throws {
      try FileManager.default.contentsOfDirectory(atPath: url.appending(path: "s").path()).sorted()
    }
  }
}

@Suite struct DraftStoreFileTests {
  @Test func whatWasSavedIsLoaded() throws {
    let folder = StoreFolder()
    #expect(folder.file().load().isEmpty)
    let taught = StoreFolder.shelf(taught: true)
    #expect(folder.file().save(taught))
    var shelf = StoreFolder.shelf()
    folder.file().load(into: &shelf)
    #expect(shelf.sections() == taught.sections())
    #expect(folder.notices.isEmpty)
    // Nothing half-written is left, and nobody else may read what users wrote.
    #expect(try folder.names == ["a.store", "a.store.lock"])
    let attributes = try FileManager.default.attributesOfItem(atPath: folder.path)
    #expect(attributes[.posixPermissions] as? Int == 0o600)
  }

  @Test func onlyOneProcessSaves() throws {
    let folder = StoreFolder()
    let taught = StoreFolder.shelf(taught: true)
    var first: DraftStoreFile? = folder.file()
    #expect(first?.save(taught) == true)
    let before = try folder.bytes()
    let second = folder.file()
    #expect(folder.notices == [.inUse])
    #expect(!second.isWritable)
    var shelf = StoreFolder.shelf()
    second.load(into: &shelf)
    #expect(shelf.sections() == taught.sections())
    #expect(!second.save(StoreFolder.shelf()))
    #expect(try folder.bytes() == before)
    first = nil
    let third = folder.file()
    #expect(third.isWritable && third.save(StoreFolder.shelf()))
    #expect(try folder.bytes() != before)
  }

  /// Empty afterwards, a notice, and no crash; the next save keeps the bad file aside.
  @Test func everyTruncationIsIgnored() throws {
    let folder = StoreFolder()
    let bytes = try folder.saved()
    for count in 1..<bytes.count {
      try folder.write(bytes[..<count])
      let before = folder.notices.count
      var shelf = StoreFolder.shelf()
      folder.file().load(into: &shelf)
      #expect(shelf.sections().isEmpty, "\(count) bytes")
      #expect(folder.notices.count == before + 1, "\(count) bytes")
    }
  }

  @Test func everyFlippedByteIsIgnored() throws {
    let folder = StoreFolder()
    let bytes = try folder.saved()
    for index in bytes.indices {
      var changed = bytes
      changed[index] ^= 0x55
      try folder.write(changed)
      let before = folder.notices.count
      var shelf = StoreFolder.shelf()
      folder.file().load(into: &shelf)
      #expect(shelf.sections().isEmpty, "byte \(index)")
      #expect(folder.notices.count == before + 1, "byte \(index)")
    }
  }

  @Test func aBadFileIsKeptAsideWhenANewOneIsSaved() throws {
    let folder = StoreFolder()
    let good = try folder.saved()
    var bad = good
    bad[bad.count - 1] ^= 1
    try folder.write(bad)
    let file = folder.file()
    var shelf = StoreFolder.shelf()
    file.load(into: &shelf)
    #expect(folder.notices == [.ignored(.checksumMismatch(part: "section of kind 7"))])
    #expect(try folder.bytes() == bad)
    let taught = StoreFolder.shelf(taught: true)
    #expect(file.save(taught))
    #expect(try folder.bytes() == good)
    #expect(try folder.bytes(folder.path + ".bad") == bad)
    // From now on the file is its own.
    #expect(file.save(taught))
    #expect(try folder.bytes(folder.path + ".bad") == bad)
  }

  @Test func theStoreOfAnotherModelIsNamedAndKeptAside() throws {
    let folder = StoreFolder()
    let other = try folder.saved()
    let file = folder.file(stamp: StoreFolder.stamp(model: 9))
    #expect(file.load().isEmpty)
    guard case .ignored(.otherModel) = try #require(folder.notices.first) else {
      Issue.record("\(folder.notices)")
      return
    }
    #expect(file.save(StoreFolder.shelf()))
    #expect(try folder.bytes(folder.path + ".bad") == other)
  }

  @Test func aNewerStoreIsIgnored() throws {
    let folder = StoreFolder()
    var newer = try folder.saved()
    newer[8] += 1
    try folder.write(newer)
    #expect(folder.file().load().isEmpty)
    #expect(folder.notices == [.ignored(.otherVersion(found: 2, supported: 1))])
  }

  /// Someone may have named a model file by mistake.
  @Test func aFileOfAnotherKindIsNeverTouched() throws {
    let folder = StoreFolder()
    try folder.write(Data("GGUF and so on".utf8))
    let file = folder.file()
    #expect(file.load().isEmpty)
    #expect(folder.notices == [.foreign])
    #expect(!file.save(StoreFolder.shelf(taught: true)))
    #expect(try folder.bytes() == Data("GGUF and so on".utf8))
  }

  @Test func anEmptyFileIsAPlace() throws {
    let folder = StoreFolder()
    try folder.write(Data())
    let file = folder.file()
    #expect(file.load().isEmpty)
    #expect(file.save(StoreFolder.shelf(taught: true)))
    #expect(folder.notices.isEmpty)
    #expect(try folder.names == ["a.store", "a.store.lock"])
  }

  @Test func aHugeFileIsNotRead() throws {
    let folder = StoreFolder()
    try folder.write(Data())
    let handle = try FileHandle(forWritingTo: URL(filePath: folder.path))
    try handle.truncate(atOffset: 1 << 40)
    try handle.close()
    #expect(folder.file().load().isEmpty)
    #expect(
      folder.notices
        == [.ignored(.tooLarge(sizeBytes: 1 << 40, limit: StoreFormat.sizeMax))])
  }

  @Test func aPlaceThatCannotBeIsReportedAndHarmless() throws {
    let folder = StoreFolder()
    try folder.write(Data("in the way".utf8))
    let file = folder.file(path: folder.path + "/below/a.store")
    #expect(!file.isWritable)
    #expect(file.load().isEmpty)
    #expect(!file.save(StoreFolder.shelf(taught: true)))
    guard case .unwritable = try #require(folder.notices.first) else {
      Issue.record("\(folder.notices)")
      return
    }
    let onFolder = folder.file(path: folder.url.path())
    #expect(onFolder.load().isEmpty)
    #expect(!onFolder.save(StoreFolder.shelf()))
  }
}
