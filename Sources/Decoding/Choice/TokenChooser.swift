package import InferenceTypes

/// Chooses the next token of one session from the target's logits: the only sampling pipeline.
///
/// The order is: bias, penalties, temperature, top-k, top-p, min-p; then the token with the
/// largest `logit / temperature + noise` wins, which is a sample from the softmax of the survivors
/// (Gumbel-max) and a pure function of logits, parameters and position. Ties go to the smaller
/// token. At temperature 0 the largest logit wins and nothing is truncated. NaN counts as
/// -infinity; where every logit is -infinity the choice is token 0.
///
/// With Mirostat the choices before count too: every emitted token is to be chosen once, in order.
///
/// - SeeAlso: Daliri, Musco and Suresh 2024, arXiv:2408.07978, for the shared noise.
package struct TokenChooser: Sendable {
  package let parameters: SamplingParameters
  package let noise: GumbelNoise
  package let vocabularyCount: Int
  /// `nil` where Mirostat is off. Settable, for who takes choices back.
  package var mirostat: MirostatState?
  let inverseTemperature: Double
  let keptCount: Int
  var adjusted: [Float] = []
  private var history: [UInt32] = []
  var sorted: [TokenLogit] = []
  private var largest = BinaryHeap<WorstFirst>()
  private var nucleus = BinaryHeap<TokenLogit>()

  /// Number of latest tokens that `choose` reads; 0 where there is no penalty.
  package var historyLength: Int { parameters.readsHistory ? parameters.penaltyWindow : 0 }

  /// - Throws: ``DecodingError`` that names the parameter that is out of range.
  package init(
    parameters: SamplingParameters, vocabularyCount: Int
  ) throws(DecodingError) {
    try SamplingParameters.check("vocabularyCount", vocabularyCount, 1...1 << 21)
    try parameters.validate(vocabularyCount: vocabularyCount)
    self.parameters = parameters
    self.vocabularyCount = vocabularyCount
    noise = GumbelNoise(seed: parameters.seed)
    mirostat = parameters.usesMirostat ? MirostatState(parameters) : nil
    inverseTemperature = 1 / Double(parameters.temperature)
    keptCount = parameters.topK < vocabularyCount ? parameters.topK : 0
    if parameters.adjustsLogits { adjusted = [Float](repeating: 0, count: vocabularyCount) }
  }

  /// Chooses the token at `position`.
  ///
  /// - Shape: `logits`: `[vocabulary]`; `top`: the largest of the same row, larger logits first,
  ///   ties by token, any number of them.
  /// - Parameters:
  ///   - logits: the target's row, before any processing.
  ///   - top: saves time only; the result does not depend on it.
  ///   - recent: the context, oldest token first; only the last ``historyLength`` are read.
  ///   - position: index of the chosen token in the whole sequence.
  /// - Returns: the token.
  /// - Complexity: O(vocabulary), O(`top.count`) where `top` covers top-k. Allocates nothing after
  ///   the first calls.
  package mutating func choose(
    logits: Span<Float>, top: Span<TokenLogit>, recent: Span<TokenID>, position: Int
  ) -> TokenID {
    precondition(
      logits.count == vocabularyCount, "\(logits.count) logits of \(vocabularyCount)")
    guard parameters.adjustsLogits else {
      return chooseAdjusted(logits: logits, top: top, position: position)
    }
    var row: [Float] = []
    swap(&row, &adjusted)
    adjust(logits, recent: recent, into: &row)
    let token = chooseAdjusted(logits: row.span, top: Span(), position: position)
    swap(&row, &adjusted)
    return token
  }

  private mutating func chooseAdjusted(
    logits: Span<Float>, top: Span<TokenLogit>, position: Int
  ) -> TokenID {
    if parameters.temperature == 0 {
      if top.count > 0, top[0].logit > -.infinity { return top[0].token }
      return argmax(logits).token
    }
    var search = PerturbedMaximum(
      noise: noise, position: position, inverseTemperature: inverseTemperature)
    if let state = mirostat {
      mirostat = chooseByMirostat(logits, state, &search)
    } else if keptCount == 0 && parameters.topP == 1 {
      if parameters.minP > 0 {
        search.truncate(
          maximum: top.count > 0 ? top[0].logit : argmax(logits).logit,
          minimumShare: Double(parameters.minP))
      }
      for index in top.indices { search.consider(top[index]) }
      search.scan(logits)
    } else if keptCount == 0 {
      chooseFromNucleus(logits, &search)
    } else {
      sorted.removeAll(keepingCapacity: true)
      if keptCount <= top.count {
        for index in 0..<keptCount where top[index].logit > -.infinity {
          sorted.append(top[index])
        }
      } else {
        selectLargest(logits)
      }
      chooseFromSorted(&search)
    }
    return search.token
  }

  /// The maximum of the tokens that are not too surprising; returns the state that follows.
  private func chooseByMirostat(
    _ logits: Span<Float>, _ state: MirostatState, _ search: inout PerturbedMaximum
  ) -> MirostatState {
    let largest = argmax(logits)
    guard largest.logit > -.infinity else { return state }
    search.truncate(maximum: largest.logit, minimumShare: 0)
    let minimumShare = state.minimumShare(mass: search.mass(logits))
    search.truncate(maximum: largest.logit, minimumShare: minimumShare)
    search.scan(logits)
    var mass = 0.0
    for index in logits.indices {
      let share = search.share(logits[index])
      if share >= minimumShare { mass += share }
    }
    var next = state
    next.observe(share: search.share(logits[Int(search.token.rawValue)]), mass: mass)
    return next
  }

  /// Top-p and min-p over `sorted`, then the maximum of the survivors.
  private func chooseFromSorted(_ search: inout PerturbedMaximum) {
    guard let first = sorted.first else { return }
    search.truncate(maximum: first.logit, minimumShare: Double(parameters.minP))
    var limit = Double.infinity
    if parameters.topP < 1 {
      var total = 0.0
      for entry in sorted { total += search.share(entry.logit) }
      limit = total * Double(parameters.topP)
    }
    var mass = 0.0
    for entry in sorted {
      search.consider(entry)
      guard limit < .infinity else { continue }
      mass += search.share(entry.logit)
      if mass >= limit { return }
    }
  }

  /// Top-p over the whole vocabulary: a heap, emptied until the mass suffices.
  ///
  /// Only tokens that the smallest sufficient set can hold enter the heap: all those below the
  /// floor together have less than the mass that may be left out.
  private mutating func chooseFromNucleus(
    _ logits: Span<Float>, _ search: inout PerturbedMaximum
  ) {
    search.truncate(maximum: argmax(logits).logit, minimumShare: Double(parameters.minP))
    guard search.maximum > -.infinity else { return }
    let total = search.mass(logits)
    let limit = total * Double(parameters.topP)
    let spare = (total - limit) * 0.99 / Double(vocabularyCount)
    let floor = search.logit(ofShare: spare)
    nucleus.removeAll()
    for index in logits.indices where Double(logits[index]) >= floor {
      guard logits[index] > -.infinity else { continue }
      nucleus.appendUnordered(
        TokenLogit(token: TokenID(UInt32(truncatingIfNeeded: index)), logit: logits[index]))
    }
    nucleus.heapify()
    var mass = 0.0
    while let entry = nucleus.pop() {
      search.consider(entry)
      mass += search.share(entry.logit)
      if mass >= limit { return }
    }
  }

  /// Leaves the `keptCount` largest logits above -infinity in `sorted`.
  mutating func selectLargest(_ logits: Span<Float>) {
    largest.removeAll()
    var threshold = -Float.infinity
    for index in logits.indices where logits[index] > threshold {
      let entry = WorstFirst(
        entry: TokenLogit(token: TokenID(UInt32(truncatingIfNeeded: index)), logit: logits[index]))
      if largest.count < keptCount {
        largest.push(entry)
      } else {
        largest.replaceFirst(with: entry)
      }
      if largest.count == keptCount, let worst = largest.first { threshold = worst.entry.logit }
    }
    while let worst = largest.pop() { sorted.append(worst.entry) }
    sorted.reverse()
  }

  /// Bias first, then penalties, in `Float`.
  mutating func adjust(
    _ logits: Span<Float>, recent: Span<TokenID>, into row: inout [Float]
  ) {
    for index in logits.indices { row[index] = logits[index] }
    for entry in parameters.logitBias { row[Int(entry.token.rawValue)] += entry.bias }
    history.removeAll(keepingCapacity: true)
    for index in max(0, recent.count - historyLength)..<recent.count
    where recent[index].rawValue < vocabularyCount {
      history.append(recent[index].rawValue)
    }
    history.sort()
    var start = 0
    while start < history.count {
      var end = start + 1
      while end < history.count && history[end] == history[start] { end += 1 }
      let token = Int(history[start])
      let logit = row[token]
      let penalty = parameters.repetitionPenalty
      let scaled = logit > 0 ? logit / penalty : logit * penalty
      row[token] =
        scaled - Float(end - start) * parameters.frequencyPenalty - parameters.presencePenalty
      start = end
    }
  }
}

/// The largest logit, ties to the smaller token; token 0 at -infinity where there is none.
func argmax(_ logits: Span<Float>) -> TokenLogit {
  var best = TokenLogit(token: 0, logit: -.infinity)
  for index in logits.indices where logits[index] > best.logit {
    best = TokenLogit(token: TokenID(UInt32(truncatingIfNeeded: index)), logit: logits[index])
  }
  return best
}
