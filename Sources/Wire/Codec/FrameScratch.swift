import CWire

/// Memory that C structs point into while one frame is packed; freed with this value.
@unsafe struct FrameScratch: ~Copyable {
  private var blocks: [UnsafeMutableRawPointer] = unsafe []

  init() {}

  deinit {
    for index in unsafe blocks.indices { unsafe blocks[index].deallocate() }
  }

  /// - Returns: `nil` where there is nothing to copy.
  mutating func copy<Element: BitwiseCopyable>(
    _ values: [Element]
  ) -> UnsafeMutablePointer<Element>? {
    guard !values.isEmpty else { return nil }
    let copy = UnsafeMutablePointer<Element>.allocate(capacity: values.count)
    unsafe copy.initialize(from: values, count: values.count)
    unsafe blocks.append(UnsafeMutableRawPointer(copy))
    return unsafe copy
  }

  /// Moves a C struct to memory of its own. The struct must be trivial, as all of C's are.
  mutating func place<Value>(_ value: Value) -> UnsafeMutablePointer<Value> {
    unsafe reserve(1, filledWith: value)
  }

  /// Room for `count` elements, all equal to `filler`.
  mutating func reserve<Element>(
    _ count: Int, filledWith filler: Element
  ) -> UnsafeMutablePointer<Element> {
    let room = UnsafeMutablePointer<Element>.allocate(capacity: count)
    unsafe room.initialize(repeating: filler, count: count)
    unsafe blocks.append(UnsafeMutableRawPointer(room))
    return unsafe room
  }

  mutating func bytes(_ values: [UInt8]) -> ProtobufCBinaryData {
    unsafe ProtobufCBinaryData(len: values.count, data: copy(values))
  }

  mutating func text(_ value: String) -> ProtobufCBinaryData {
    unsafe bytes(Array(value.utf8))
  }

  mutating func words<Word: RawRepresentable<UInt32>>(
    _ values: [Word]
  ) -> UnsafeMutablePointer<UInt32>? {
    unsafe copy(values.map(\.rawValue))
  }
}
