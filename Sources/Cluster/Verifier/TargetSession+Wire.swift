import Decoding
import InferenceTypes
import Wire

/// What a verifier tells of a session.
extension TargetSession {
  var truth: [TokenID] { machine.truth }
  var promptCount: Int { machine.promptCount }
  var generatedCount: Int { machine.generatedCount }
  var pendingCount: Int { machine.pendingCount }
  var finish: FinishReason? { machine.finish }

  /// Counters as they travel.
  var statistics: SessionStatistics {
    var statistics = SessionStatistics()
    statistics.promptDuration = promptDuration
    statistics.decodeDuration = decodeDuration
    statistics.cachedTokenCount = cachedCount
    statistics.verifyStepCount = machine.statistics.stepCount
    for origin in DraftOrigin.allCases {
      for depth in 1...DraftStatistics.depthMax {
        statistics.drafted[origin] += machine.statistics.verifiedCount(origin, depth: depth)
        statistics.accepted[origin] += machine.statistics.acceptedCount(origin, depth: depth)
        statistics.draftedAt.append(machine.statistics.verifiedCount(origin, depth: depth))
        statistics.acceptedAt.append(machine.statistics.acceptedCount(origin, depth: depth))
      }
    }
    statistics.expectedTokenCount = Float(machine.statistics.expectedCount)
    return statistics
  }
}
