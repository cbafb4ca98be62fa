import InferenceTypes

/// Something that a ``BinaryHeap`` orders.
protocol HeapElement {
  /// Whether `left` must leave the heap before `right`: a strict total order.
  static func comesFirst(_ left: Self, _ right: Self) -> Bool
}

/// A binary heap that keeps its storage between uses.
struct BinaryHeap<Element: HeapElement & Sendable>: Sendable {
  private(set) var elements: [Element] = []

  var count: Int { elements.count }
  var first: Element? { elements.first }

  mutating func removeAll() { elements.removeAll(keepingCapacity: true) }

  /// Adds without restoring the order: `heapify` must follow.
  mutating func appendUnordered(_ element: Element) { elements.append(element) }

  mutating func heapify() {
    for index in stride(from: elements.count / 2 - 1, through: 0, by: -1) {
      siftDown(from: index)
    }
  }

  mutating func push(_ element: Element) {
    elements.append(element)
    var index = elements.count - 1
    while index > 0 {
      let parent = (index - 1) / 2
      guard Element.comesFirst(elements[index], elements[parent]) else { return }
      elements.swapAt(index, parent)
      index = parent
    }
  }

  mutating func pop() -> Element? {
    guard let first = elements.first else { return nil }
    let last = elements.removeLast()
    if !elements.isEmpty {
      elements[0] = last
      siftDown(from: 0)
    }
    return first
  }

  /// Puts `element` in place of the first one.
  mutating func replaceFirst(with element: Element) {
    elements[0] = element
    siftDown(from: 0)
  }

  private mutating func siftDown(from start: Int) {
    var index = start
    while true {
      var next = 2 * index + 1
      guard next < elements.count else { return }
      if next + 1 < elements.count, Element.comesFirst(elements[next + 1], elements[next]) {
        next += 1
      }
      guard Element.comesFirst(elements[next], elements[index]) else { return }
      elements.swapAt(index, next)
      index = next
    }
  }
}

extension TokenLogit: HeapElement {
  /// Larger logits first, ties to the smaller token: the order of top-k and top-p.
  static func comesFirst(_ left: TokenLogit, _ right: TokenLogit) -> Bool {
    left.logit > right.logit || (left.logit == right.logit && left.token < right.token)
  }
}

/// Orders like ``TokenLogit`` in reverse: the first is the one that a better one displaces.
struct WorstFirst: HeapElement, Sendable {
  var entry: TokenLogit

  static func comesFirst(_ left: WorstFirst, _ right: WorstFirst) -> Bool {
    TokenLogit.comesFirst(right.entry, left.entry)
  }
}
