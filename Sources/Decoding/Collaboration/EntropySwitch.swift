package import InferenceTypes

/// Which of two models writes, by the rolling entropy of the one that does.
///
/// A model that has written its minimum stay hands over where the mean of the latest entropies has
/// passed the threshold. Both ends are exact: at threshold 0 the target model writes everything,
/// at infinity the draft model.
///
/// - SeeAlso: Simonds 2025, arXiv:2502.06833. Hysteresis, a stay of its own for each side and the
///   rule for the first token are ours; the window is kept at a change, as both models' entropies
///   are bits of the same vocabulary.
package struct EntropySwitch: Sendable, Equatable {
  private let threshold: Double
  /// Below it the draft model takes over.
  private let lowerThreshold: Double
  private let window: Int
  private let draftStay: Int
  private let targetStay: Int
  /// Latest entropies, oldest first.
  package private(set) var entropies: [Double] = []
  /// Tokens since the latest change.
  package private(set) var stay = 0
  package private(set) var writesTarget = false

  /// `parameters` are valid.
  package init(_ parameters: CollaborationParameters) {
    threshold = Double(parameters.entropyThreshold)
    lowerThreshold = threshold - Double(parameters.entropyHysteresis)
    window = parameters.entropyWindow
    draftStay = parameters.draftStay
    targetStay = parameters.targetStay
  }

  /// The switch of a session at another place, where the draft model writes, or nobody yet.
  ///
  /// - Parameters:
  ///   - parameters: those of the other, valid.
  ///   - entropies: the other's ``entropies``; what is older than the window is left out.
  ///   - stay: the other's ``stay``.
  package init(_ parameters: CollaborationParameters, entropies: [Double], stay: Int) {
    precondition(stay >= 0, "a stay of \(stay) tokens")
    self.init(parameters)
    self.entropies = entropies.suffix(window)
    self.stay = stay
  }

  /// Bits; `nil` before the first token.
  package var meanEntropy: Double? {
    entropies.isEmpty ? nil : entropies.reduce(0, +) / Double(entropies.count)
  }

  /// Decides who writes the first token: the draft model looks at the prompt first, and where its
  /// entropy reaches the threshold the target model begins. No stay has to pass for that.
  ///
  /// - Parameter entropy: the draft model's, in bits.
  package mutating func begin(entropy: Double) {
    precondition(entropies.isEmpty && stay == 0, "\(stay) tokens are written")
    writesTarget = entropy >= threshold
  }

  /// Counts a token, and decides who writes the next one.
  ///
  /// - Parameter entropy: of the distribution that the token was chosen from, in bits.
  package mutating func observe(entropy: Double) {
    if entropies.count == window { entropies.removeFirst() }
    entropies.append(entropy)
    stay += 1
    guard stay >= (writesTarget ? targetStay : draftStay), let mean = meanEntropy else { return }
    let wantsTarget = mean >= (writesTarget ? lowerThreshold : threshold)
    guard wantsTarget != writesTarget else { return }
    writesTarget = wantsTarget
    stay = 0
  }
}
