package import InferenceTypes

/// What a draft store belongs to: it is of use for no other model.
package struct StoreStamp: Sendable, Equatable {
  /// 32 bytes.
  package let modelFingerprint: [UInt8]
  /// 32 bytes.
  package let tokenizerFingerprint: [UInt8]
  package let vocabularyCount: Int

  package init(modelFingerprint: [UInt8], tokenizerFingerprint: [UInt8], vocabularyCount: Int) {
    precondition(
      modelFingerprint.count == StoreFormat.fingerprintSize
        && tokenizerFingerprint.count == StoreFormat.fingerprintSize,
      "fingerprints of \(modelFingerprint.count) and \(tokenizerFingerprint.count) bytes")
    precondition((1...Int(UInt32.max)).contains(vocabularyCount), "vocabulary \(vocabularyCount)")
    self.modelFingerprint = modelFingerprint
    self.tokenizerFingerprint = tokenizerFingerprint
    self.vocabularyCount = vocabularyCount
  }
}

/// What one source of one owner has learned, as bytes.
package struct StoreSection: Sendable, Equatable {
  /// Which source.
  package var kind: UInt32
  /// Which way of writing it.
  package var layout: UInt32
  /// `nil` for what is shared by all.
  package var owner: TenantID?
  package var payload: [UInt8]

  package init(kind: UInt32, layout: UInt32, owner: TenantID?, payload: [UInt8]) {
    self.kind = kind
    self.layout = layout
    self.owner = owner
    self.payload = payload
  }

  var sizeBytes: Int { StoreFormat.sectionHeaderSize + payload.count }
}

/// The file format of draft stores. Numbers are little-endian.
///
/// | part | bytes |
/// |---|---|
/// | `SLPDRAFT` | 8 |
/// | format version | 4 |
/// | vocabulary size | 4 |
/// | fingerprint of the model, of the tokenizer | 32, 32 |
/// | number of sections | 4 |
/// | CRC-64 of the bytes so far | 8 |
///
/// Each section: kind (4), layout (4), owner (16, zeros for what is shared), length of the payload
/// (8), CRC-64 of these 32 bytes and the payload (8), payload. Nothing follows the last one. A
/// program keeps sections of kinds that it does not know.
package enum StoreFormat {
  package static let version: UInt32 = 1
  /// Bytes of a file: what 16 owners of a vocabulary of 49,152 have learned at most.
  package static let sizeMax = 256 << 20
  static let magic = Array("SLPDRAFT".utf8)
  static let fingerprintSize = 32
  static let headerSize = 8 + 4 + 4 + 2 * fingerprintSize + 4 + 8
  static let sectionHeaderSize = 4 + 4 + TenantID.byteCount + 8 + 8
  private static let sectionCountMax = 65_536

  /// Whether a file that begins with `bytes` was meant to be a draft store.
  package static func isStore(_ bytes: [UInt8]) -> Bool { bytes.starts(with: magic) }

  /// The leading sections that fit in `limit` bytes together.
  package static func fitting(
    _ sections: [StoreSection], limit: Int = sizeMax
  ) -> ArraySlice<StoreSection> {
    var left = limit - headerSize
    var count = 0
    while count < min(sections.count, sectionCountMax), sections[count].sizeBytes <= left {
      left -= sections[count].sizeBytes
      count += 1
    }
    return sections[..<count]
  }

  /// A whole file.
  package static func encode(_ sections: ArraySlice<StoreSection>, stamp: StoreStamp) -> [UInt8] {
    var writer = StoreWriter()
    writer.append(magic)
    writer.append(version)
    writer.append(UInt32(stamp.vocabularyCount))
    writer.append(stamp.modelFingerprint)
    writer.append(stamp.tokenizerFingerprint)
    writer.append(UInt32(sections.count))
    writer.append(Checksum.of(writer.bytes[...]))
    for section in sections {
      let start = writer.bytes.count
      writer.append(section.kind)
      writer.append(section.layout)
      writer.append(section.owner?.bytes ?? [UInt8](repeating: 0, count: TenantID.byteCount))
      writer.append(UInt64(section.payload.count))
      var sum = Checksum()
      sum.update(writer.bytes[start...])
      sum.update(section.payload[...])
      writer.append(sum.value)
      writer.append(section.payload)
    }
    return writer.bytes
  }

  /// The sections of a whole file, checked down to their lengths and checksums.
  package static func decode(
    _ bytes: [UInt8], stamp: StoreStamp
  ) throws(StoreError) -> [StoreSection] {
    guard bytes.count <= sizeMax else { throw .tooLarge(sizeBytes: bytes.count, limit: sizeMax) }
    guard isStore(bytes) else { throw .notAStore }
    var reader = StoreReader(bytes, part: "header", from: magic.count)
    // Before the checksum: a newer version may have a longer header.
    let found = try reader.word()
    guard found == version else { throw .otherVersion(found: found, supported: version) }
    let vocabularyCount = try reader.word()
    let model = try reader.bytes(fingerprintSize)
    let tokenizer = try reader.bytes(fingerprintSize)
    let rawCount = try reader.word()
    guard try reader.longWord() == Checksum.of(bytes[..<(headerSize - 8)]) else {
      throw .checksumMismatch(part: "header")
    }
    guard model == stamp.modelFingerprint else {
      throw .otherModel(found: model, expected: stamp.modelFingerprint)
    }
    guard tokenizer == stamp.tokenizerFingerprint else {
      throw .otherTokenizer(found: tokenizer, expected: stamp.tokenizerFingerprint)
    }
    guard Int(vocabularyCount) == stamp.vocabularyCount else {
      throw .otherVocabulary(found: Int(vocabularyCount), expected: stamp.vocabularyCount)
    }
    let sectionCount = try reader.checked(
      UInt64(rawCount), 0...sectionCountMax, "the number of sections")
    var sections: [StoreSection] = []
    var rest = StoreReader(bytes, part: "sections", from: reader.position)
    var names: Set<SectionName> = []
    for _ in 0..<sectionCount {
      let section = try section(&rest, of: bytes)
      guard names.insert(SectionName(kind: section.kind, owner: section.owner)).inserted else {
        throw .notInOrder(field: "the sections")
      }
      sections.append(section)
    }
    try rest.finish()
    return sections
  }

  private struct SectionName: Hashable {
    let kind: UInt32
    let owner: TenantID?
  }

  private static func section(
    _ reader: inout StoreReader, of bytes: [UInt8]
  ) throws(StoreError) -> StoreSection {
    let start = reader.position
    let kind = try reader.word()
    let layout = try reader.word()
    let owner = try reader.bytes(TenantID.byteCount)
    let length = try reader.longWord()
    let expected = try reader.longWord()
    let room = bytes.count - reader.position
    guard length <= UInt64(room) else {
      throw .truncated(
        part: "section of kind \(kind)", needed: Int(clamping: length), available: room)
    }
    let payload = try reader.bytes(Int(length))
    var sum = Checksum()
    sum.update(bytes[start..<start + sectionHeaderSize - 8])
    sum.update(payload[...])
    guard sum.value == expected else { throw .checksumMismatch(part: "section of kind \(kind)") }
    return StoreSection(
      kind: kind, layout: layout, owner: TenantID(bytes: owner), payload: payload)
  }
}
