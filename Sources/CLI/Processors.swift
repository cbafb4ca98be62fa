import ArgumentParser
import CLinux
import Engine
import Foundation

/// CPUs as users write them: 2, or 0-3.
struct ProcessorRange: ExpressibleByArgument, CustomStringConvertible {
  let first: Int32
  let last: Int32

  init(first: Int32, last: Int32) {
    self.first = first
    self.last = last
  }

  init?(argument: String) {
    let parts = argument.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count <= 2, let first = Int32(parts[0]), let last = Int32(parts[parts.count - 1]),
      first >= 0, last >= first
    else { return nil }
    self.first = first
    self.last = last
  }

  var description: String { first == last ? "\(first)" : "\(first)-\(last)" }
}

/// Where the threads of this process run.
enum Processors {
  /// CPUs that this process may use: those of its affinity, and no more than the quota of its
  /// control group pays for.
  static var availableCount: Int {
    let affinity = max(1, Int(csystem_cpus_available()))
    return min(affinity, quota ?? affinity)
  }

  /// Restricts this process to `range`, where each compute thread then stays on a CPU of its own,
  /// and warns of more compute threads than there are CPUs, those of other processes included.
  ///
  /// - Throws: ``CommandFailure`` where none of the CPUs can be used.
  static func prepare(range: ProcessorRange?, threadCount: Int) throws {
    let before = csystem_cpus_available()
    if let range, csystem_cpus_restrict(range.first, range.last) <= 0 {
      throw CommandFailure(
        description: "--cpu-range \(range): this process may use \(before) CPUs, none of these")
    }
    if range != nil { ProcessorClaims.process.pinThreads() }
    if threadCount > availableCount {
      printError(
        "warning: --threads \(threadCount) on \(availableCount) available CPUs is slower than "
          + "--threads \(availableCount)")
    } else if !ProcessorClaims.process.hasRoom(for: threadCount) {
      printError(
        "warning: other slipstream processes compute on these CPUs; fewer --threads, or a "
          + "--cpu-range for each process, keep them apart")
    }
  }

  /// Whole CPUs that the control group's quota pays for; `nil` where there is none.
  private static var quota: Int? {
    // Version 2 has both numbers in one file, version 1 one in each.
    let fields =
      numbers("/sys/fs/cgroup/cpu.max")
      ?? numbers("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").flatMap { quota in
        numbers("/sys/fs/cgroup/cpu/cpu.cfs_period_us").map { quota + $0 }
      }
    guard let fields, fields.count == 2, fields[0] > 0, fields[1] > 0 else { return nil }
    return max(1, fields[0] / fields[1])
  }

  /// The numbers in a small file; `nil` where there is no such file, or something else in it ("max").
  private static func numbers(_ path: String) -> [Int]? {
    // No file means no limit.
    guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return nil }
    let words = text.split(whereSeparator: \.isWhitespace)
    let numbers = words.compactMap { Int($0) }
    return numbers.count == words.count ? numbers : nil
  }
}
