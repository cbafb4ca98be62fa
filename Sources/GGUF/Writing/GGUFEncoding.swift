/// How the numbers, texts and values of a file are written; the mirror of ``GGUFParser``.
extension [UInt8] {
  mutating func append<Number: FixedWidthInteger>(integer: Number) {
    for shift in stride(from: 0, to: Number.bitWidth, by: 8) {
      append(UInt8(truncatingIfNeeded: integer >> Number(shift)))
    }
  }

  mutating func append(text: String) {
    append(integer: UInt64(text.utf8.count))
    append(contentsOf: text.utf8)
  }

  mutating func append(value: GGUFValue) {
    switch value {
    case .uint8(let number): append(integer: number)
    case .int8(let number): append(integer: number)
    case .uint16(let number): append(integer: number)
    case .int16(let number): append(integer: number)
    case .uint32(let number): append(integer: number)
    case .int32(let number): append(integer: number)
    case .float32(let number): append(integer: number.bitPattern)
    case .bool(let flag): append(flag ? 1 : 0)
    case .string(let text): append(text: text)
    case .array(let elements): append(array: elements)
    case .uint64(let number): append(integer: number)
    case .int64(let number): append(integer: number)
    case .float64(let number): append(integer: number.bitPattern)
    }
  }

  mutating func append(array: GGUFArray) {
    append(integer: array.elementType.rawValue)
    append(integer: UInt64(array.count))
    switch array {
    case .uint8(let numbers): append(contentsOf: numbers)
    case .int8(let numbers): for number in numbers { append(integer: number) }
    case .uint16(let numbers): for number in numbers { append(integer: number) }
    case .int16(let numbers): for number in numbers { append(integer: number) }
    case .uint32(let numbers): for number in numbers { append(integer: number) }
    case .int32(let numbers): for number in numbers { append(integer: number) }
    case .float32(let numbers): for number in numbers { append(integer: number.bitPattern) }
    case .bool(let flags): for flag in flags { append(flag ? 1 : 0) }
    case .string(let texts): for text in texts { append(text: text) }
    case .array(let arrays): for array in arrays { append(array: array) }
    case .uint64(let numbers): for number in numbers { append(integer: number) }
    case .int64(let numbers): for number in numbers { append(integer: number) }
    case .float64(let numbers): for number in numbers { append(integer: number.bitPattern) }
    }
  }

  mutating func pad(to alignment: Int) {
    let excess = count & (alignment - 1)
    if excess != 0 { append(contentsOf: repeatElement(0, count: alignment - excess)) }
  }
}
