/// Every way a model file or a request can be unfit for the engine.
package enum EngineError: Error, Equatable, Sendable {
  case unsupportedArchitecture(String, supported: [String])
  /// A metadata key whose value the forward pass does not implement.
  case unsupportedSetting(key: String, value: String, supported: String)
  case unsupportedTensorType(tensor: String, type: String, supported: [String])
  case missingTensor(String)
  case unexpectedTensor(String)
  case wrongShape(tensor: String, found: [Int], expected: [Int])
  case invalidSetting(key: String, value: Int, expected: String)
  case file(String)
  case unknownQuantizationType(String, supported: [String])
  case unknownInstructionSet(String, available: [String])
  case outOfMemory(what: String, sizeBytes: Int)
  case invalidThreadCount(Int, limit: Int)
  /// No room for the batch in the KV cache.
  case contextFull(used: Int, wanted: Int, capacity: Int)
  /// No free blocks of KV cache memory; some are when other sequences end.
  case keyValueMemoryFull(wanted: Int, free: Int, blockBytes: Int)
  case batchTooLarge(count: Int, limit: Int)
  case unknownToken(id: Int, vocabularyCount: Int)
  case invalidParent(node: Int, parent: Int)
}

extension EngineError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .unsupportedArchitecture(let name, let supported):
      "model architecture \"\(name)\" is not supported; supported: \(list(supported))"
    case .unsupportedSetting(let key, let value, let supported):
      "\(key) = \(value) is not supported; supported: \(supported)"
    case .unsupportedTensorType(let tensor, let type, let supported):
      "tensor \(tensor) has type \(type), which is not supported; supported: \(list(supported))"
    case .missingTensor(let name):
      "the file has no tensor \(name), which this architecture needs"
    case .unexpectedTensor(let name):
      "the file has a tensor \(name), which this architecture does not use: "
        + "leaving it out would give a wrong text"
    case .wrongShape(let tensor, let found, let expected):
      "tensor \(tensor) has shape \(found), expected \(expected)"
    case .invalidSetting(let key, let value, let expected):
      "\(key) is \(value), expected \(expected)"
    case .file(let message): message
    case .unknownQuantizationType(let name, let supported):
      "quantisation type \"\(name)\" is unknown; supported: \(list(supported))"
    case .unknownInstructionSet(let name, let available):
      "instruction set \"\(name)\" is not available on this machine; available: \(list(available))"
    case .outOfMemory(let what, let sizeBytes):
      "not enough memory for \(what): \(sizeBytes) bytes"
    case .invalidThreadCount(let count, let limit):
      "thread count \(count) is out of range; expected 1...\(limit)"
    case .contextFull(let used, let wanted, let capacity):
      "the KV cache holds \(used) of \(capacity) tokens; no room for \(wanted) more"
    case .keyValueMemoryFull(let wanted, let free, let blockBytes):
      "the key/value memory has \(free) free blocks of \(blockBytes) bytes, \(wanted) are wanted; "
        + "end other sequences or give it more memory"
    case .batchTooLarge(let count, let limit):
      "a batch of \(count) tokens is too large; the limit is \(limit)"
    case .unknownToken(let id, let vocabularyCount):
      "token \(id) is outside the vocabulary of \(vocabularyCount) tokens"
    case .invalidParent(let node, let parent):
      "batch node \(node) names parent \(parent); a parent stands before its children"
    }
  }

  private func list(_ names: [String]) -> String { names.joined(separator: ", ") }
}
