import ArgumentParser
import Cluster
import Engine
import FoundationEssentials
import GGUF
import Tokenizer

#if canImport(Glibc)
  import Glibc
#endif

/// Prints to standard error, where progress and warnings belong.
func printError(_ text: String) {
  FileHandleStream.standardError.write(text + "\n")
}

/// A standard stream that is written at once.
struct FileHandleStream {
  let descriptor: Int32

  static let standardOutput = FileHandleStream(descriptor: 1)
  static let standardError = FileHandleStream(descriptor: 2)

  func write(_ text: String) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let written = unsafe bytes.withUnsafeBytes {
        unsafe Glibc.write(descriptor, $0.baseAddress, $0.count)
      }
      guard written > 0 else {
        if written < 0, errno == EINTR { continue }
        return
      }
      bytes = bytes.dropFirst(written)
    }
  }
}

/// A failure whose message is all the user needs.
struct CommandFailure: Error, CustomStringConvertible {
  let description: String
}

/// Options of every command that loads a model to compute with it.
struct ModelOptions: ParsableArguments {
  @Option(name: [.customShort("m"), .long], help: "Model file (GGUF).")
  var model: String

  @Option(name: [.customShort("t"), .long], help: "Compute threads.")
  var threads = 1

  @Option(
    name: [.customShort("c"), .customLong("ctx-size")],
    help: "Context length in tokens; the model's own unless told.")
  var contextLength: Int?

  @Option(help: "Arithmetic: default, or openblas (float reference).")
  var backend = "default"

  @Option(
    help:
      "CPUs to run on, as 0-3, each thread on one; those of the process unless told.")
  var cpuRange: ProcessorRange?

  @Option(help: "Memory of all KV caches, as 512M or 2G; room for 8 contexts unless told.")
  var kvMemory: MemorySize?

  @Option(
    name: [.customLong("cache-type-k")],
    help: "Keys of the KV cache: f32, f16, i16 or q8_0; i16 unless told (f32 with openblas).")
  var cacheTypeKeys: CacheType?

  @Option(
    name: [.customLong("cache-type-v")],
    help: "Values of the KV cache: f32, f16, i16 or q8_0; likewise.")
  var cacheTypeValues: CacheType?

  @OptionGroup var weights: WeightCacheOptions

  /// What the KV cache of a model on this backend holds.
  func cacheTypes(backend: Backend) -> CacheTypes {
    var types = backend.defaultCacheTypes
    types.keys = cacheTypeKeys ?? types.keys
    types.values = cacheTypeValues ?? types.values
    return types
  }
}

extension CacheType: ExpressibleByArgument {}

/// A number of bytes as users write it: 1500000, 512M, 2G.
struct MemorySize: ExpressibleByArgument {
  let bytes: Int

  init?(argument: String) {
    let units: [Character: Int] = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30]
    let unit = argument.last.flatMap { units[Character($0.uppercased())] }
    let digits = unit == nil ? argument[...] : argument.dropLast()
    guard let number = Int(digits), number > 0 else { return nil }
    let (bytes, isTooLarge) = number.multipliedReportingOverflow(by: unit ?? 1)
    guard !isTooLarge else { return nil }
    self.bytes = bytes
  }
}

/// Loads models with the errors that a user can act on.
enum ModelLoading {
  static func file(_ path: String) throws -> GGUFFile {
    do { return try GGUFFile(path: path) } catch {
      throw CommandFailure(description: "\(path): \(error)")
    }
  }

  /// Loads with `threadCount` threads; shows how far it is where that takes more than a second.
  static func model(
    _ file: GGUFFile, path: String, backend: String = "default", threadCount: Int,
    weights: WeightCacheOptions
  ) throws -> Model {
    guard let backend = Backend(rawValue: backend) else {
      let names = Backend.allCases.map(\.rawValue).joined(separator: ", ")
      throw ValidationError("unknown backend \"\(backend)\"; supported: \(names)")
    }
    var bar = ProgressBar()
    defer { bar.clear() }
    let start = ContinuousClock.now
    do {
      return try Model(
        file: file, backend: backend, kernels: try kernels(), threadCount: threadCount,
        weightCache: try weights.cache(backend: backend),
        warn: { warning in printError("warning: \(path): \(warning)") },
        progress: { share in
          if ContinuousClock.now - start > .seconds(1) { bar.show(share, "loading \(path)") }
        })
    } catch let error as EngineError {
      throw CommandFailure(description: "\(path): \(error)")
    }
  }

  /// The fastest instruction set of this machine, or the one that `SLIPSTREAM_ISA` names.
  static func kernels() throws -> Kernels {
    guard let name = ProcessInfo.processInfo.environment["SLIPSTREAM_ISA"], !name.isEmpty else {
      return .best
    }
    do { return try Kernels.named(name) } catch {
      throw CommandFailure(description: "SLIPSTREAM_ISA: \(error)")
    }
  }

  static func engine(_ options: ModelOptions, file: GGUFFile) throws -> InferenceEngine {
    try Processors.prepare(range: options.cpuRange, threadCount: options.threads)
    let model = try model(
      file, path: options.model, backend: options.backend, threadCount: options.threads,
      weights: options.weights)
    return try InferenceEngine(
      model: model, threadCount: options.threads, contextLength: options.contextLength,
      keyValueMemoryBytes: options.kvMemory?.bytes,
      cacheTypes: options.cacheTypes(backend: model.backend))
  }

  /// The engine of a draft model whose tokens are the target's.
  static func draftEngine(
    _ path: String, tokenizer: BytePairTokenizer, target: InferenceEngine, options: ModelOptions
  ) throws -> InferenceEngine {
    let (engine, vocabularies) = try drafting(
      path, tokenizer: tokenizer, target: target, options: options)
    guard vocabularies == nil else {
      throw CommandFailure(
        description:
          "\(path): its tokenizer differs from that of \(options.model); this needs the same tokens"
      )
    }
    return engine
  }

  /// The engine of a draft model, and what leads from its tokens to the target's where they differ.
  static func drafting(
    _ path: String, tokenizer: BytePairTokenizer, target: InferenceEngine, options: ModelOptions
  ) throws -> (engine: InferenceEngine, vocabularies: Retokenizer?) {
    let file = try file(path)
    let own: BytePairTokenizer
    do { own = try BytePairTokenizer(file: file) } catch {
      throw CommandFailure(description: "\(path): \(error)")
    }
    let draft = try model(
      file, path: path, threadCount: options.threads, weights: options.weights)
    let isSame =
      own.fingerprint == tokenizer.fingerprint
      && draft.shape.vocabularyCount == target.model.shape.vocabularyCount
    let engine = try InferenceEngine(
      model: draft, threadCount: options.threads,
      contextLength: min(target.contextLength, draft.shape.contextLength),
      keyValueMemoryBytes: options.kvMemory?.bytes,
      cacheTypes: options.cacheTypes(backend: draft.backend))
    return (engine, isSame ? nil : Retokenizer(target: tokenizer, draft: own))
  }
}

/// JSON with keys in snake case and in a fixed order, one object a line.
func printJSON(_ value: some Encodable) throws {
  let encoder = JSONEncoder()
  encoder.keyEncodingStrategy = .convertToSnakeCase
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  FileHandleStream.standardOutput.write(
    String(decoding: try encoder.encode(value), as: UTF8.self) + "\n")
}

extension Duration {
  /// Milliseconds as JSON carries them.
  var milliseconds: Double {
    Double(components.seconds) * 1e3 + Double(components.attoseconds) * 1e-15
  }
}
