/// What is going to happen, by time. Ties go to what is marked as first, then to what was scheduled
/// first, so a seed is a trace.
struct EventQueue<Event: Sendable>: Sendable {
  private struct Key: Sendable {
    var time: SimulationTime
    var sequence: UInt64
    var slot: Int

    @inline(__always)
    static func < (left: Key, right: Key) -> Bool {
      left.time != right.time ? left.time < right.time : left.sequence < right.sequence
    }
  }

  private var heap: [Key] = []
  private var slots: [Event?] = []
  private var freeSlots: [Int] = []
  private var sequence: UInt64 = 0

  var count: Int { heap.count }

  mutating func push(_ event: Event, at time: SimulationTime, isFirst: Bool = false) {
    sequence += 1
    let order = isFirst ? sequence : sequence | 1 << 63
    let slot: Int
    if let free = freeSlots.popLast() {
      slot = free
      slots[slot] = event
    } else {
      slot = slots.count
      slots.append(event)
    }
    heap.append(Key(time: time, sequence: order, slot: slot))
    var index = heap.count - 1
    while index > 0, heap[index] < heap[(index - 1) / 2] {
      heap.swapAt(index, (index - 1) / 2)
      index = (index - 1) / 2
    }
  }

  mutating func pop() -> (time: SimulationTime, event: Event)? {
    guard let first = heap.first, let event = slots[first.slot] else { return nil }
    slots[first.slot] = nil
    freeSlots.append(first.slot)
    let last = heap.removeLast()
    if !heap.isEmpty {
      heap[0] = last
      siftDown()
    }
    return (first.time, event)
  }

  private mutating func siftDown() {
    var index = 0
    while true {
      var next = 2 * index + 1
      guard next < heap.count else { return }
      if next + 1 < heap.count, heap[next + 1] < heap[next] { next += 1 }
      guard heap[next] < heap[index] else { return }
      heap.swapAt(index, next)
      index = next
    }
  }
}
