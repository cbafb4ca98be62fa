package import InferenceTypes

/// The part of Mirostat that goes on from token to token: how much surprise is let through.
///
/// It follows from the emitted tokens and their logits alone, so that decoding with drafts, which
/// chooses each emitted token once and in order, carries the same state as decoding without.
///
/// - SeeAlso: Basu et al. 2021, arXiv:2007.14966; version 2 of the algorithm. The token is chosen by
///   the session's noise.
package struct MirostatState: Sendable, Equatable {
  private let target: Double
  private let rate: Double
  /// Bits: tokens with a larger surprise are cut off, all but the largest.
  package private(set) var limit: Double

  private static let ln2 = 0.693_147_180_559_945_3

  /// - Parameters:
  ///   - parameters: valid, with Mirostat on.
  ///   - limit: to go on from; that of the beginning unless told.
  package init(_ parameters: SamplingParameters, limit: Double? = nil) {
    target = Double(parameters.mirostatTau)
    rate = Double(parameters.mirostatEta)
    self.limit = limit ?? 2 * target
  }

  /// The smallest share of the largest probability that passes, where all shares together are
  /// `mass`.
  func minimumShare(mass: Double) -> Double {
    min(1, ExactMath.exp(-limit * Self.ln2) * mass)
  }

  /// - Parameters:
  ///   - share: of the chosen token.
  ///   - mass: shares of all tokens that passed.
  mutating func observe(share: Double, mass: Double) {
    let surprise = ExactMath.log(mass / share) / Self.ln2
    limit -= rate * (surprise - target)
  }
}
