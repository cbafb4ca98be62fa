package import Engine
package import GGUF
package import Tokenizer
package import Wire

/// What a worker is known by, and what its model is.
package struct WorkerIdentity: Sendable {
  package let name: String
  /// New with every start of the process.
  package let epoch: InstanceEpoch
  package let modelID: String
  package let modelFingerprint: Fingerprint
  package let tokenizerFingerprint: Fingerprint
  package let vocabularyCount: Int
  package let contextLength: Int

  /// `name` has 1 to 64 printable characters and is unique in the cluster; `contextLength` is the
  /// most positions of a sequence here.
  ///
  /// - Throws: ``WorkerError/invalidFingerprint`` for hashes of another length.
  package init(
    name: String, modelID: String, file: GGUFFile, tokenizer: BytePairTokenizer,
    shape: ModelShape, contextLength: Int
  ) throws(WorkerError) {
    self.name = name
    epoch = InstanceEpoch(rawValue: UInt64.random(in: 1 ... .max))
    self.modelID = modelID
    guard let model = Fingerprint(bytes: file.fingerprint),
      let tokens = Fingerprint(bytes: tokenizer.fingerprint)
    else { throw .invalidFingerprint }
    modelFingerprint = model
    tokenizerFingerprint = tokens
    vocabularyCount = shape.vocabularyCount
    self.contextLength = contextLength
  }
}

/// Why a worker cannot start or go on.
package enum WorkerError: Error, Equatable, Sendable {
  case invalidFingerprint
  /// The router does not take this worker.
  case refused(code: String, message: String)
}

extension WorkerError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .invalidFingerprint: "a fingerprint has 32 bytes"
    case .refused(let code, let message): "the router refuses this worker (\(code)): \(message)"
    }
  }
}
