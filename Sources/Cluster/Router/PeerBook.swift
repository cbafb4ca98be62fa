import Transport
import Wire

/// The connections of a router, by name and by number.
struct PeerBook {
  struct Entry {
    let id: PeerID
    var badFrameCount = 0
    var heartbeatCount: UInt64 = 0
    /// Under which the worker was last registered.
    var workerName: String?
    /// What the worker told last.
    var totals: WorkerTotals?
  }

  private var numbers: [PeerID: Int] = [:]
  private(set) var entries: [Int: Entry] = [:]
  private var numberCount = 0

  /// - Returns: the number of the connection, which is entered where it is new.
  mutating func number(of peer: PeerID) -> Int {
    if let number = numbers[peer] { return number }
    numberCount += 1
    numbers[peer] = numberCount
    entries[numberCount] = Entry(id: peer)
    return numberCount
  }

  /// - Returns: the number of a connection that is still there.
  func knownNumber(of peer: PeerID) -> Int? { numbers[peer] }

  subscript(number: Int) -> Entry? {
    get { entries[number] }
    set {
      precondition(newValue?.id == entries[number]?.id, "connection \(number) has another name")
      entries[number] = newValue
    }
  }

  /// - Returns: the number that the connection had.
  mutating func remove(_ peer: PeerID) -> Int? {
    guard let number = numbers.removeValue(forKey: peer) else { return nil }
    entries[number] = nil
    return number
  }
}
