import Wire

/// Adds up what a drafter's model does, on the thread that drafts, and tells it.
struct DrafterMeter {
  private let box: TotalsBox
  private var totals = DrafterTotals()

  init(_ box: TotalsBox) { self.box = box }

  mutating func count(_ progress: LocalDrafter.Progress) {
    totals.passCount += 1
    if progress.isAborted { totals.abortedPassCount += 1 }
  }

  mutating func tell(restingCount: Int, draftDuration: Duration) {
    totals.restingSessionCount = restingCount
    totals.draftDuration = draftDuration
    box.store(.drafter(totals))
  }
}
