package import InferenceTypes

/// What decides how far ahead, and whether at all, a draft model drafts for a distant target.
package struct DraftConditions: Sendable, Equatable {
  /// Network time there and back.
  package var roundTrip: Duration
  /// Time of a step of the target over one token.
  package var step: Duration
  /// Time of larger steps, in steps over one token.
  package var costs: VerifyCosts
  /// Time to draft one token.
  package var draft: Duration
  /// Share of the drafts that are right where their parents are.
  package var acceptance: Double

  package init(
    roundTrip: Duration, step: Duration, costs: VerifyCosts, draft: Duration, acceptance: Double
  ) {
    self.roundTrip = roundTrip
    self.step = step
    self.costs = costs
    self.draft = draft
    self.acceptance = acceptance
  }

  /// Tokens of a chain ahead of the known truth that ``Pipeline/streamed`` makes use of: 1 to 64.
  package var window: Int {
    DraftWindow.length(
      roundTrip: roundTrip, verify: usefulStep, draft: draft, acceptance: acceptance)
  }

  /// Levels of a tree that come before the target needs them: 1 to 64.
  package var reach: Int {
    DraftWindow.reach(roundTrip: roundTrip, verify: usefulStep, draft: draft)
  }

  /// A step over as many tokens as are drafted meanwhile and survive.
  private var usefulStep: Duration { .seconds(stepSeconds(min(ratio, survival))) }

  /// What drafts cost in steps of the target, if passes of the draft model cost this beside those
  /// over one token.
  package func draftCosts(_ draft: VerifyCosts) -> DraftCosts {
    let single = max(seconds(step), 1e-9)
    var all = DraftCosts(unit: Float(seconds(self.draft) / single), draft: draft, verify: costs)
    all.round = Float(seconds(roundTrip) / single)
    return all
  }

  /// Expected speed of ``Pipeline/streamed`` over decoding without drafts.
  ///
  /// After a wrong draft the first m tokens come at the pace of the target alone, while the drafter
  /// hears of it and fills the pipe again; later ones come at the pace of drafting. At least 1: a
  /// target that nothing arrives at decodes alone.
  package var streamedGain: Double {
    let (t1, td, r) = (seconds(step), seconds(draft), seconds(roundTrip))
    guard t1 > td, td >= 0 else { return 1 }
    let a = likely
    let verify = 1.5 * stepSeconds(min(ratio, survival))
    let refill = ((r + verify) / (t1 - td)).rounded(.down)
    // Beyond any text: nothing survives that long.
    guard refill < 4096 else { return 1 }
    let survived = power(a, Int(refill))
    let alone = (1 - (refill + 1) * survived + refill * survived * a) / (1 - a)
    let perToken =
      (1 - a) * (t1 * alone + survived * (r + verify + td * (refill + 1 / (1 - a))))
    return max(1, t1 / perToken)
  }

  /// Draft tokens of a round that make a pipeline with rounds fastest.
  ///
  /// - Parameters:
  ///   - pipeline: how the time is shared.
  ///   - limit: most of them, at least 1.
  /// - Returns: 1 to `limit`; 1 for ``Pipeline/streamed``, which has no rounds.
  package func roundLength(_ pipeline: Pipeline, limit: Int) -> Int {
    precondition(limit >= 1, "limit \(limit)")
    guard pipeline != .streamed else { return 1 }
    var best = (length: 1, rate: 0.0)
    for length in 1...limit {
      let rate = roundRate(pipeline, length)
      if rate > best.rate { best = (length, rate) }
    }
    return best.length
  }

  /// Tokens per second of a pipeline with rounds of this length.
  ///
  /// - SeeAlso: Leviathan et al. 2022, arXiv:2211.17192, for taking turns; Liu et al. 2024,
  ///   arXiv:2408.11850, for lockstep, whose steps here end with a message there and back.
  package func roundRate(_ pipeline: Pipeline, _ length: Int) -> Double {
    let a = likely
    let all = power(a, length)
    let drafting = Double(length) * seconds(draft)
    let r = seconds(roundTrip)
    switch pipeline {
    case .streamed: return streamedGain / seconds(step)
    case .vanilla:
      return (1 - all * a) / (1 - a) / (drafting + r + stepSeconds(Double(length + 1)))
    case .lockstep:
      let tokens = (1 - all) / ((1 - a) * (1 + a - all))
      let first = (1 - all) / (1 - all + a)
      let time =
        first * max(drafting, stepSeconds(1))
        + (1 - first) * max(drafting, stepSeconds(Double(length)))
      return tokens / (time + r)
    }
  }

  private var likely: Double { min(0.995, max(0.01, acceptance.isNaN ? 0.5 : acceptance)) }
  /// Tokens drafted during a step of one token.
  private var ratio: Double { seconds(step) / max(seconds(draft), 1e-9) }
  /// Tokens until the first wrong draft.
  private var survival: Double { 1 / (1 - likely) }

  /// Time of a step over so many tokens, straight lines between whole ones.
  private func stepSeconds(_ count: Double) -> Double {
    let count = min(128, max(1, count))
    let below = Int(count)
    let cost = Double(costs.cost(below))
    let slope = Double(costs.cost(below + 1)) - cost
    return seconds(step) * (cost + slope * (count - Double(below)))
  }

  private func power(_ base: Double, _ exponent: Int) -> Double {
    var result = 1.0
    for _ in 0..<exponent { result *= base }
    return result
  }

  private func seconds(_ duration: Duration) -> Double { duration / .seconds(1) }
}
