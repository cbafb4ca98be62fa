import CMeasure
package import Engine
import Foundation

/// How fast this machine's memory can be read, by the threads that a model computes with.
package struct ReadBandwidth {
  /// No memory for the measurement.
  package struct Failure: Error, CustomStringConvertible {
    package let sizeBytes: Int
    package var description: String {
      "no \(sizeBytes) bytes of memory to measure the read bandwidth with"
    }
  }

  private let threads: WorkerThreads
  private let buffer: Buffer

  /// The buffer is at least 256 MiB and four times the largest cache, so that little of it is still
  /// there when it is read again.
  /// - Throws: ``Failure``.
  package init(threads: WorkerThreads) throws {
    let buffer = try Buffer(sizeBytes: max(256 << 20, 4 * cmeasure_cache_bytes()))
    self.threads = threads
    self.buffer = buffer
    // Memory that was never written is one page of zeros, again and again.
    threads.run { worker in buffer.fill(buffer.part(worker)) }
  }

  /// Every thread reads its part of the buffer in the order of addresses; the best of `roundCount`
  /// rounds counts.
  /// - Returns: bytes per second.
  package func measure(roundCount: Int = 7) -> Double {
    var best = Double.infinity
    for _ in 0..<roundCount {
      let seconds = seconds { threads.run { worker in buffer.read(buffer.part(worker)) } }
      best = min(best, seconds)
    }
    return Double(buffer.sizeBytes) / best
  }

  /// What several threads read at once in terms of one alone. Where it is near 1, two models whose
  /// weights no cache holds slow each other down, whatever their processors do.
  /// - Throws: ``Failure``, and what a pool of so many threads throws.
  package static func scaling(threadCount: Int = 2) throws -> Double {
    let alone = try ReadBandwidth(threads: try WorkerThreads(count: 1)).measure()
    return try ReadBandwidth(threads: try WorkerThreads(count: threadCount)).measure() / alone
  }

  /// Memory that threads read.
  // unchecked: threads write disjoint ranges, once, before any reads.
  @safe private final class Buffer: @unchecked Sendable {
    static let alignment = 512
    let sizeBytes: Int
    private let base: UnsafeMutableRawPointer

    init(sizeBytes: Int) throws {
      self.sizeBytes = (sizeBytes + Self.alignment - 1) / Self.alignment * Self.alignment
      guard let base = unsafe cmeasure_map(self.sizeBytes) else {
        throw Failure(sizeBytes: sizeBytes)
      }
      unsafe self.base = base
    }

    deinit { unsafe cmeasure_unmap(base, sizeBytes) }

    func part(_ worker: WorkerContext) -> Range<Int> {
      let lines = worker.share(of: sizeBytes / Self.alignment)
      return lines.lowerBound * Self.alignment..<lines.upperBound * Self.alignment
    }

    func fill(_ range: Range<Int>) {
      unsafe UnsafeMutableRawBufferPointer(start: base, count: sizeBytes)[range]
        .initializeMemory(as: UInt8.self, repeating: 0x5a)
    }

    func read(_ range: Range<Int>) {
      _ = unsafe cmeasure_read(base + range.lowerBound, range.count)
    }
  }
}

/// Seconds that `body` takes.
func seconds(_ body: () throws -> Void) rethrows -> Double {
  let duration = try ContinuousClock().measure(body)
  return Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
}
