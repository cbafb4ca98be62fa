import CWire

/// The calls into protobuf-c that decode a frame.
enum Unpacking {
  /// Calls `body` with the decoded envelope, or not at all where `frame` is malformed or takes
  /// more memory than ``Limits/decodingMemoryBytesMax``. What the envelope points to lives until
  /// `body` returns.
  static func withEnvelope(_ frame: [UInt8], _ body: (Slipstream__V1__Envelope) -> Void) {
    var budget = Limits.decodingMemoryBytesMax
    unsafe withUnsafeMutablePointer(to: &budget) { budget in
      var allocator = unsafe ProtobufCAllocator(
        alloc: { budget, sizeBytes in
          // safe: `allocator_data` below is the budget, which outlives the allocator.
          guard let budget = unsafe budget?.assumingMemoryBound(to: Int.self),
            unsafe sizeBytes <= budget.pointee
          else { return nil }
          unsafe budget.pointee -= sizeBytes
          return UnsafeMutableRawPointer.allocate(byteCount: sizeBytes, alignment: 16)
        },
        free: { _, block in unsafe block?.deallocate() },
        allocator_data: UnsafeMutableRawPointer(budget))
      // safe: the allocator stands for all of the envelope's life, and the frame is only read.
      guard
        let envelope = unsafe slipstream__v1__envelope__unpack(&allocator, frame.count, frame)
      else { return }
      unsafe body(envelope.pointee)
      unsafe slipstream__v1__envelope__free_unpacked(envelope, &allocator)
    }
  }

  /// - Returns: the number of fields of the envelope and its body that the schema does not have.
  static func unknownFieldCount(_ raw: Slipstream__V1__Envelope) -> Int {
    var count = unsafe Int(raw.base.n_unknown_fields)
    // safe: every member of the union points to a struct that starts with its `base`, which is
    // all that Goodbye has.
    if let body = unsafe raw.goodbye { unsafe count += Int(body.pointee.base.n_unknown_fields) }
    return count
  }

  /// - Returns: the field number of a body that the schema does not have; 0 where there is none.
  static func unknownBodyType(_ raw: Slipstream__V1__Envelope) -> UInt32 {
    // safe: protobuf-c keeps `n_unknown_fields` elements there.
    unsafe raw.base.n_unknown_fields > 0 ? raw.base.unknown_fields[0].tag : 0
  }
}
