internal import GGUF

/// Settings of one architecture, read with the engine's errors.
struct ShapeReader {
  let file: GGUFFile
  let prefix: String

  func key(_ name: String) -> String { "\(prefix).\(name)" }

  func has(_ name: String) -> Bool { file[key(name)] != nil }

  func number(_ name: String, in range: ClosedRange<Int>, default fallback: Int? = nil)
    throws(EngineError) -> Int
  {
    let key = key(name)
    let value: Int
    do { value = try file.integer(key, default: fallback) } catch { throw .file("\(error)") }
    guard range.contains(value) else {
      throw .invalidSetting(
        key: key, value: value, expected: "\(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }

  func real(_ name: String, in range: ClosedRange<Float>, default fallback: Float? = nil)
    throws(EngineError) -> Float
  {
    let key = key(name)
    let value: Float
    do { value = try file.float(key, default: fallback) } catch { throw .file("\(error)") }
    guard range.contains(value) else {
      throw .unsupportedSetting(
        key: key, value: "\(value)",
        supported: "numbers from \(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }

  func text(_ name: String, default fallback: String) throws(EngineError) -> String {
    do { return try file.string(key(name), default: fallback) } catch { throw .file("\(error)") }
  }

  /// Refuses a setting that the forward pass does not implement, unless it has a value at which it
  /// changes nothing.
  func requireNeutral(_ name: String, _ neutral: [Double]) throws(EngineError) {
    guard let value = file[key(name)] else { return }
    let number: Double? =
      switch value {
      case .bool(let flag): flag ? 1 : 0
      case .uint32(let number): Double(number)
      case .int32(let number): Double(number)
      case .uint64(let number): Double(number)
      case .float32(let number): Double(number)
      case .float64(let number): number
      default: nil
      }
    if let number, neutral.contains(number) { return }
    throw .unsupportedSetting(
      key: key(name), value: number.map { "\($0)" } ?? value.typeName,
      supported: neutral.map { "\($0)" }.joined(separator: ", "))
  }
}
