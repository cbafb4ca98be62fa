/// Stops a draft model whose drafts come too late to help, and lets it try again now and then: the
/// text may become easier, the network faster.
///
/// | state | leaves it |
/// |---|---|
/// | drafting | when the expected gain is below ``gainMin``: resting |
/// | resting | after ``restLength`` tokens, or when the gain is well above it by itself: probing |
/// | probing | after ``probeLength`` tokens, by the gain: drafting or resting |
package struct DraftThrottle: Sendable, Equatable {
  package enum State: Sendable, Equatable {
    case drafting
    /// Until the truth has so many tokens.
    case resting(until: Int)
    case probing(until: Int)
  }

  /// A smaller gain does not pay for the drafting.
  package static let gainMin = 1.02
  /// Tokens of truth.
  package static let restLength = 192
  package static let probeLength = 32
  /// Guesses that must have been put to the test before the acceptance is believed.
  package static let sampleMin = 24

  package private(set) var state = State.drafting

  package init() {}

  /// Says how far ahead to draft.
  ///
  /// - Parameters:
  ///   - conditions: as measured.
  ///   - sampleCount: guesses that the acceptance comes from.
  ///   - truthCount: tokens of known truth.
  /// - Returns: tokens beyond the truth; 0 while resting.
  package mutating func window(
    _ conditions: DraftConditions, sampleCount: Int, truthCount: Int
  ) -> Int {
    let gain = conditions.streamedGain
    switch state {
    case .drafting where gain < Self.gainMin && sampleCount >= Self.sampleMin:
      state = .resting(until: truthCount + Self.restLength)
    case .drafting: break
    case .resting(let end) where truthCount >= end || gain > Self.gainMin * Self.gainMin:
      state = .probing(until: truthCount + Self.probeLength)
    case .resting: break
    case .probing(let end) where truthCount >= end:
      state =
        gain < Self.gainMin ? .resting(until: truthCount + Self.restLength) : .drafting
    case .probing: break
    }
    if case .resting = state { return 0 }
    return conditions.window
  }
}
