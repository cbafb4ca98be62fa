/// Speed-ups over plain decoding, of one method on all prompts.
package struct SpeedupSummary: Encodable, Sendable {
  package let median: Double
  package let mean: Double
  package let least: Double
  package let most: Double
  /// Mean speed-up by category.
  package let categories: [String: Double]
  /// The least of these.
  package let worstCategory: Double
  /// Between the turns of a prompt, (most − least) / median; the median of all prompts, 0 where each
  /// had one turn.
  package let spread: Double

  /// - Parameter rows: category, speed-up, and spread of each prompt; not empty.
  package init(_ rows: [(category: String, speedup: Double, spread: Double)]) {
    precondition(!rows.isEmpty, "a summary of nothing")
    let ratios = rows.map(\.speedup)
    median = Benchmarks::median(ratios)
    mean = ratios.reduce(0, +) / Double(ratios.count)
    least = ratios.min() ?? .nan
    most = ratios.max() ?? .nan
    categories = Dictionary(grouping: rows, by: \.category).mapValues { group in
      group.reduce(0) { $0 + $1.speedup } / Double(group.count)
    }
    worstCategory = categories.values.min() ?? .nan
    spread = Benchmarks::median(rows.map(\.spread))
  }
}

/// Spread of speed-ups that were taken in turns.
///
/// - Parameters:
///   - rates: tokens per second, turn by turn.
///   - plain: those of plain decoding in the same turns.
/// - Returns: (most − least) / median; 0 for a single turn.
package func speedupSpread(_ rates: [Double], plain: [Double]) -> Double {
  let ratios = zip(rates, plain).map { $0 / $1 }
  guard let least = ratios.min(), let most = ratios.max() else { return 0 }
  return (most - least) / median(ratios)
}
