import Foundation
import GGUF
import Testing

/// A folder of its own, removed with this object.
final class ScratchFolder {
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path()
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }  // nothing to do about leftovers

  var names: [String] { get throws { try FileManager.default.contentsOfDirectory(atPath: path) } }

  func file(_ name: String) -> String { "\(path)/\(name)" }
}

/// The bytes of `file`, where it can be read.
private func contents(_ path: String) -> [UInt8]? {
  FileManager.default.contents(atPath: path).map { [UInt8]($0) }
}

private func write(_ text: String, to path: String, replacing: Bool = false) throws(GGUFError) {
  var file = try AtomicFile(path: path, replacing: replacing)
  try file.append(Array(text.utf8).span)
  try file.commit()
}

struct WritingTests {
  private static let tensors: [(name: String, dimensions: [Int], type: GGMLType)] = [
    ("first", [3, 2], .f32), ("second", [256, 1, 3], .q4_K), ("third", [5], .i8),
  ]

  private func outline(alignment: Int) -> GGUFOutline {
    var outline = GGUFOutline(alignment: alignment)
    for (key, value) in everyValue { outline.add(key, value) }
    for tensor in Self.tensors {
      outline.add(tensor: tensor.name, dimensions: tensor.dimensions, type: tensor.type)
    }
    return outline
  }

  private func data(_ index: Int) -> [UInt8] {
    let tensor = Self.tensors[index]
    let count = tensor.dimensions.reduce(1, *) / tensor.type.blockSize * tensor.type.blockBytes
    return (0..<count).map { UInt8(truncatingIfNeeded: $0 * 7 + index) }
  }

  /// Writes the file in pieces of at most `pieceBytes`.
  private func stream(_ outline: GGUFOutline, to path: String, pieceBytes: Int) throws {
    var writer = try GGUFFileWriter(outline, to: path, replacing: false)
    for index in Self.tensors.indices {
      var rest = data(index)[...]
      while !rest.isEmpty {
        try writer.append(Array(rest.prefix(pieceBytes)).span)
        rest = rest.dropFirst(pieceBytes)
      }
    }
    try writer.finish()
  }

  @Test(arguments: [1, 32, 4096], [1, 7, 1000])
  func piecesGiveTheFileThatMemoryGives(alignment: Int, pieceBytes: Int) throws {
    let folder = try ScratchFolder()
    try stream(outline(alignment: alignment), to: folder.file("a"), pieceBytes: pieceBytes)
    try stream(outline(alignment: alignment), to: folder.file("b"), pieceBytes: 50)
    var writer = GGUFWriter(alignment: alignment)
    for (key, value) in everyValue { writer.add(key, value) }
    for (index, tensor) in Self.tensors.enumerated() {
      writer.add(
        tensor: tensor.name, dimensions: tensor.dimensions, type: tensor.type, bytes: data(index))
    }
    let written = try #require(contents(folder.file("a")))
    #expect(written == writer.serialized())
    #expect(written == contents(folder.file("b")))
    #expect(written.count == outline(alignment: alignment).sizeBytes)
    #expect(written.count.isMultiple(of: alignment), "the last tensor is padded, too")
    #expect(try folder.names.sorted() == ["a", "b"])

    let file = try GGUFFile(path: folder.file("a"))
    for (key, value) in everyValue { #expect(file[key] == value, "\(key)") }
    for (index, tensor) in file.tensors.enumerated() {
      #expect(tensor.name == Self.tensors[index].name)
      #expect(tensor.dimensions == Self.tensors[index].dimensions)
      #expect(unsafe file.withTensorBytes(tensor) { unsafe Array($0) } == data(index))
    }
  }

  @Test(arguments: [false, true])
  func aFileAppearsWholeOrNotAtAll(isNamed: Bool) throws {
    let folder = try ScratchFolder()
    let path = folder.file("model.gguf")
    func begin() throws {
      let file = try AtomicFile(path: path, replacing: false, isNamed: isNamed)
      try file.append(Array("half".utf8).span)
      let isThere = FileManager.default.fileExists(atPath: path)
      #expect(!isThere)
      if isNamed { #expect(try folder.names.first?.hasPrefix("model.gguf.partial-") == true) }
    }
    try begin()
    #expect(try folder.names == [], "an abandoned file leaves nothing")
    var file = try AtomicFile(path: path, replacing: false, isNamed: isNamed)
    try file.append(Array("whole".utf8).span)
    try file.commit()
    #expect(contents(path) == Array("whole".utf8))
  }

  @Test(arguments: [false, true])
  func aNameIsTakenOnlyWherePermitted(isNamed: Bool) throws {
    let folder = try ScratchFolder()
    let path = folder.file("model.gguf")
    func attempt(whileAnother appears: Bool, replacing: Bool) throws {
      var file = try AtomicFile(path: path, replacing: replacing, isNamed: isNamed)
      try file.append(Array("new".utf8).span)
      if appears { try write("other", to: path) }
      try file.commit()
    }
    #expect(throws: GGUFError.alreadyExists(path: path)) {
      try attempt(whileAnother: true, replacing: false)
    }
    #expect(contents(path) == Array("other".utf8))
    #expect(throws: GGUFError.alreadyExists(path: path)) {
      try attempt(whileAnother: false, replacing: false)
    }
    #expect(try folder.names == ["model.gguf"])
    try attempt(whileAnother: false, replacing: true)
    #expect(contents(path) == Array("new".utf8))
    #expect(try folder.names == ["model.gguf"])
  }

  @Test func readersKeepTheFileThatIsReplaced() throws {
    let folder = try ScratchFolder()
    let path = folder.file("model.gguf")
    try everythingWriter().write(to: path)
    let old = try GGUFFile(path: path)
    let fingerprint = old.fingerprint
    try GGUFWriter().write(to: path)
    #expect(old.fingerprint == fingerprint)
    #expect(try GGUFFile(path: path).tensors.isEmpty)
  }

  @Test func impossiblePlacesAreNamed() throws {
    let folder = try ScratchFolder()
    let missing = folder.file("missing/model.gguf")
    for isNamed in [false, true] {
      #expect(throws: GGUFError.cannotWrite(path: missing, errno: ENOENT)) {
        _ = try AtomicFile(path: missing, replacing: true, isNamed: isNamed)
      }
      #expect(throws: GGUFError.notARegularFile(path: folder.path)) {
        _ = try AtomicFile(path: folder.path, replacing: true, isNamed: isNamed)
      }
      #expect(throws: GGUFError.notARegularFile(path: "/dev/null")) {
        _ = try AtomicFile(path: "/dev/null", replacing: true, isNamed: isNamed)
      }
    }
    #expect("\(GGUFError.alreadyExists(path: "a.gguf"))".contains("a.gguf exists"))
  }

  @Test func aFileLargerThanTheFileSystemIsRefusedAtOnce() throws {
    let folder = try ScratchFolder()
    var outline = GGUFOutline()
    outline.add(tensor: "vast", dimensions: [1 << 60], type: .i8)
    let error = try #require(throws: GGUFError.self) {
      _ = try GGUFFileWriter(outline, to: folder.file("model.gguf"), replacing: false)
    }
    guard case .noSpace(_, let needed, let available) = error else {
      Issue.record("\(error)")
      return
    }
    #expect(needed == outline.sizeBytes && available > 0 && available < needed)
    #expect("\(error)".contains("\(needed) bytes needed"))
    #expect(try folder.names == [])
  }

  /// A limit on file sizes stands in for a disk that fails.
  @Test func aFailedWriteIsNamedAndLeavesNothing() async throws {
    let folder = try ScratchFolder()
    let path = folder.file("model.gguf")
    await #expect(processExitsWith: .success) { [path = path as String] in
      var limit = rlimit(rlim_cur: 5000, rlim_max: 5000)
      _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
      signal(SIGXFSZ, SIG_IGN)
      var writer = GGUFWriter()
      writer.add(
        tensor: "t", dimensions: [10_000], type: .i8, bytes: [UInt8](repeating: 1, count: 10_000))
      #expect(throws: GGUFError.cannotWrite(path: path, errno: EFBIG)) {
        try writer.write(to: path)
      }
    }
    #expect(try folder.names == [])
  }

  /// What has no name yet goes with its process.
  @Test func aKilledProcessLeavesNothing() async throws {
    let folder = try ScratchFolder()
    let path = folder.file("model.gguf")
    await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String] in
      var outline = GGUFOutline()
      outline.add(tensor: "t", dimensions: [10], type: .i8)
      var writer = try GGUFFileWriter(outline, to: path, replacing: false)
      try writer.append([1, 2, 3].span)
      kill(getpid(), SIGKILL)
      try writer.finish()
    }
    #expect(try folder.names == [])
  }

  @Test func mistakesOfTheCallerAreCaught() async {
    await #expect(processExitsWith: .failure) {
      var outline = GGUFOutline()
      outline.add("key", .bool(true))
      outline.add("key", .bool(false))
    }
    await #expect(processExitsWith: .failure) {
      var outline = GGUFOutline()
      outline.add(tensor: "t", dimensions: [100], type: .q8_0)
    }
    await #expect(processExitsWith: .failure) {
      var outline = GGUFOutline()
      outline.add(tensor: "t", dimensions: [10], type: .i8)
      var writer = try GGUFFileWriter(outline, to: "/tmp/never.gguf", replacing: true)
      try writer.append([UInt8](repeating: 0, count: 11).span)
    }
    await #expect(processExitsWith: .failure) {
      var outline = GGUFOutline()
      outline.add(tensor: "t", dimensions: [10], type: .i8)
      var writer = try GGUFFileWriter(outline, to: "/tmp/never.gguf", replacing: true)
      try writer.finish()
    }
  }
}
