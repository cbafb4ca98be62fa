/// The families of models whose forward pass is implemented. The raw value is the family's name in
/// model files and the prefix of its settings there.
package enum Architecture: String, Sendable, CaseIterable {
  /// Llama 1 to 3, and what copies them: Mistral, SmolLM2, TinyLlama.
  case llama
  case qwen2
  case qwen3
  case gemma2
  case gemma3
  case phi3

  /// Which two elements of a head are rotated together.
  enum RotaryPairing {
    /// 2 i and 2 i + 1.
    case adjacent
    /// i and i + half of the rotated length ("NeoX").
    case halves
  }

  /// What bends the gate of the feed-forward block.
  enum GateActivation {
    case silu
    /// GELU in the form with a hyperbolic tangent.
    case gelu
  }

  /// Which layers see a window of the latest positions only, where there is a window.
  enum WindowRule {
    /// None: a window shorter than the context is refused.
    case none
    case everyLayer
    /// All but the last of each group of so many layers.
    case allButEach(Int)
  }

  var rotaryPairing: RotaryPairing { self == .llama ? .adjacent : .halves }
  var gateActivation: GateActivation { isGemma ? .gelu : .silu }
  var windowRule: WindowRule {
    switch self {
    case .llama, .phi3: .everyLayer
    case .qwen2, .qwen3: .none
    case .gemma2: .allButEach(2)
    case .gemma3: .allButEach(6)
    }
  }

  /// Whether embeddings are multiplied by the square root of their length.
  var scalesEmbedding: Bool { isGemma }
  /// Whether what a block computes is normalised before it joins the residual stream.
  var hasPostNorms: Bool { isGemma }
  /// Whether each head of queries and keys is normalised before it is rotated.
  var hasHeadNorms: Bool { self == .qwen3 || self == .gemma3 }
  /// Whether query, key and value are one matrix, and gate and up another.
  var hasFusedInputs: Bool { self == .phi3 }
  /// Whether query, key and value must have biases; any product may have one.
  var needsInputBiases: Bool { self == .qwen2 }
  /// Whether files may divide the rotary frequencies by numbers of their own.
  var hasRotaryDivisors: Bool { self == .llama || self == .phi3 }

  private var isGemma: Bool { self == .gemma2 || self == .gemma3 }
}
