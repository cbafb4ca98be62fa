/// Stops a draft model whose drafts come too late to help, and lets it try again now and then: the
/// text may become easier, the network faster.
///
/// | state | leaves it |
/// |---|---|
/// | drafting | when the expected gain is below ``gainMin``: resting |
/// | resting | when the rest is over, or the gain is well above it by itself: probing |
/// | probing | after ``probeLength`` tokens, by the gain: drafting or resting |
///
/// The first rest takes ``restLength`` tokens, each one that a probe ends in twice as many as the one
/// before. It goes on in the next session with the same verifier: short answers would be probes all of
/// them.
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
  /// Of the longest rest.
  package static let restMax = 3072
  package static let probeLength = 32
  /// Guesses that must have been put to the test before the acceptance is believed.
  package static let sampleMin = 24

  package private(set) var state = State.drafting
  private var nextRest = restLength

  package init() {}

  /// The one to begin the next session with.
  ///
  /// - Parameters:
  ///   - truthCount: tokens of known truth in this session.
  ///   - next: in the next one.
  /// - Returns: at rest, or probing, for as long as this one would be, else drafting.
  package func carried(from truthCount: Int, to next: Int) -> DraftThrottle {
    var throttle = self
    switch state {
    case .drafting: break
    case .resting(let end): throttle.state = .resting(until: next + max(0, end - truthCount))
    case .probing(let end): throttle.state = .probing(until: next + max(0, end - truthCount))
    }
    return throttle
  }

  /// Says whether to draft now.
  ///
  /// - Parameters:
  ///   - conditions: as measured.
  ///   - sampleCount: guesses that the acceptance comes from.
  ///   - truthCount: tokens of known truth.
  /// - Returns: `false` while resting.
  package mutating func mayDraft(
    _ conditions: DraftConditions, sampleCount: Int, truthCount: Int
  ) -> Bool {
    let gain = conditions.streamedGain
    switch state {
    case .drafting where gain < Self.gainMin && sampleCount >= Self.sampleMin:
      rest(from: truthCount)
    case .drafting: break
    case .resting(let end) where truthCount >= end || gain > Self.gainMin * Self.gainMin:
      state = .probing(until: truthCount + Self.probeLength)
    case .resting: break
    case .probing(let end) where truthCount >= end:
      if gain < Self.gainMin {
        rest(from: truthCount)
      } else {
        state = .drafting
        nextRest = Self.restLength
      }
    case .probing: break
    }
    if case .resting = state { return false }
    return true
  }

  private mutating func rest(from truthCount: Int) {
    state = .resting(until: truthCount + nextRest)
    nextRest = min(Self.restMax, nextRest * 2)
  }
}
