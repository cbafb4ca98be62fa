import InferenceTypes

/// Rows of logits made from the rows of several models.
///
/// - SeeAlso: Li et al. 2023, arXiv:2210.15097 (contrastive decoding); Liu et al. 2024,
///   arXiv:2401.08565 (proxy tuning); Zhang et al. 2024, arXiv:2406.12295 (FS-GEN), whose common form
///   both have here.
package enum LogitCombination {
  /// The target's logits plus `contrast - 1` times their distance from the draft model's, for
  /// tokens that the target finds plausible; -infinity for all others.
  ///
  /// - Shape: `target`, `draft`: `[vocabulary]`; `row` gets as many.
  /// - Parameters:
  ///   - target: logits of the large model.
  ///   - draft: logits of the small model.
  ///   - plausibility: least share of the target's largest probability; 0 keeps every token.
  ///   - contrast: 1 gives the target's own logits, bit for bit.
  ///   - row: replaced.
  package static func contrastive(
    target: Span<Float>, draft: Span<Float>, plausibility: Float, contrast: Float,
    into row: inout [Float]
  ) {
    precondition(target.count == draft.count, "\(target.count) and \(draft.count) logits")
    // ln 0 is -infinity: every token is plausible.
    let floor = Double(argmax(target).logit) + ExactMath.log(Double(plausibility))
    let weight = contrast - 1
    row.removeAll(keepingCapacity: true)
    for index in target.indices {
      let isPlausible = Double(target[index]) >= floor
      row.append(
        isPlausible
          ? shifted(target[index], by: target[index] - draft[index], weight: weight) : -.infinity)
    }
  }

  /// The base model's logits plus `strength` times what tuning changed in a small model.
  ///
  /// - Shape: all `[vocabulary]`; `row` gets as many.
  /// - Parameters:
  ///   - base: logits of the large model.
  ///   - expert: logits of the small tuned model.
  ///   - antiexpert: logits of the small model before tuning.
  ///   - strength: 0 gives the base's own logits, bit for bit.
  ///   - row: replaced.
  package static func proxy(
    base: Span<Float>, expert: Span<Float>, antiexpert: Span<Float>, strength: Float,
    into row: inout [Float]
  ) {
    precondition(
      base.count == expert.count && base.count == antiexpert.count,
      "\(base.count), \(expert.count) and \(antiexpert.count) logits")
    row.removeAll(keepingCapacity: true)
    for index in base.indices {
      row.append(
        shifted(base[index], by: expert[index] - antiexpert[index], weight: strength))
    }
  }

  /// Infinities would cancel to NaN or decide alone; the large model's word counts then.
  private static func shifted(_ logit: Float, by difference: Float, weight: Float) -> Float {
    difference.isFinite && weight != 0 ? logit + weight * difference : logit
  }
}
