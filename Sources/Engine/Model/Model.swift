package import GGUF
package import InferenceTypes

/// A loaded model: weights and shape, shared by every engine and thread of the process.
package final class Model: Sendable {
  package let shape: ModelShape
  package let backend: Backend
  /// The arithmetic in use.
  package let kernels: Kernels
  /// BLAKE2b fingerprint of the model file; see ``GGUFFile/fingerprint``.
  package let fingerprint: [UInt8]
  /// Bytes of weights held in memory beside the mapped file.
  package var sizeBytes: Int { weights.sizeBytes }
  /// Whether the rewritten matrices are those of a ``WeightCache``, shared with other processes.
  package let sharesWeights: Bool
  let weights: Weights

  /// Uses the fastest kernels of this machine unless told; `threadCount` threads rewrite the weights;
  /// calls `progress` with the share of the weights loaded, 0...1. The native backend takes rewritten
  /// weights from `weightCache` and keeps them there; `warn` hears where that fails, which only costs
  /// time and memory.
  ///
  /// - Throws: ``EngineError`` where the file is not a model this engine runs.
  package init(
    file: GGUFFile, backend: Backend = .native, kernels: Kernels = .best,
    threadCount: Int = 1, weightCache: WeightCache? = nil,
    warn: (WeightCacheWarning) -> Void = { _ in }, progress: (Double) -> Void = { _ in }
  ) throws(EngineError) {
    shape = try ModelShape(file: file)
    self.backend = backend
    self.kernels = kernels
    let threads = try WorkerThreads(count: threadCount)
    if backend == .native, let weightCache,
      let shared = try weightCache.weights(
        file: file, shape: shape, threads: threads, warn: warn, progress: progress)
    {
      weights = shared
      sharesWeights = true
    } else {
      weights = try Weights(
        file: file, shape: shape, backend: backend, threads: threads, progress: progress)
      sharesWeights = false
    }
    fingerprint = file.fingerprint
  }
}

/// What one forward pass evaluates.
package struct ForwardBatch: Sendable {
  /// One per node.
  package var tokens: [TokenID] = []
  /// Index of each node's parent in the batch, smaller than its own; -1 continues the committed
  /// positions.
  package var parents: [Int] = []
  /// Indices of the nodes whose logits are wanted, ascending.
  package var logitNodes: [Int] = []
  /// Whether the nodes join those that the cache holds beside its committed positions, rather than
  /// take their place. Parents then count those first, in their order.
  package var joinsScratch = false
  /// What the pass leaves out. The logits are then those of another, worse model.
  package var skipped = SublayerSet()

  package init() {}

  /// A chain after the committed positions.
  package init(chain tokens: [TokenID], logits: LogitRows) {
    self.tokens = tokens
    parents = Array(-1..<tokens.count - 1)
    switch logits {
    case .all: logitNodes = Array(tokens.indices)
    case .last: logitNodes = tokens.isEmpty ? [] : [tokens.count - 1]
    case .none: logitNodes = []
    }
  }

  /// Which nodes of a chain want logits.
  package enum LogitRows: Sendable {
    case all
    case last
    case none
  }
}

/// What one forward pass evaluates for one of several sequences.
package struct ForwardPart {
  package var batch: ForwardBatch
  package var cache: KVCache

  package init(batch: ForwardBatch, cache: KVCache) {
    self.batch = batch
    self.cache = cache
  }
}

/// Why a pass over several sequences was not evaluated.
package struct ForwardFailure: Error, Equatable, Sendable, CustomStringConvertible {
  /// Index of the first part that cannot be evaluated.
  package let part: Int
  package let error: EngineError

  package init(part: Int, error: EngineError) {
    self.part = part
    self.error = error
  }

  package var description: String { "part \(part) of the pass: \(error)" }
}
