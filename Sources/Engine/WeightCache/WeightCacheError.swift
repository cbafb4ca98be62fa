internal import Glibc

/// Why a file of rewritten weights cannot be used. None of it keeps a model from loading.
package enum WeightCacheError: Error, Equatable, Sendable {
  /// The folder cannot be made, or something else has its name.
  case noFolder(path: String, errno: Int32)
  case cannotRead(path: String, errno: Int32)
  case cannotWrite(path: String, problem: String)
  case notARegularFile(path: String)
  /// Somebody else could change the weights under a running model.
  case untrusted(path: String, owner: UInt32, mode: UInt32)
  /// Another process holds the lock.
  case busy(path: String, seconds: Int)

  /// The file is shorter or longer than it should be.
  case wrongSize(path: String, sizeBytes: Int, expected: Int)
  case wrongMagic(path: String, found: [UInt8])
  case otherLayout(path: String, found: UInt32, expected: UInt32)
  case otherModel(path: String)
  /// The table of matrices does not have its checksum.
  case damagedTable(path: String)
  /// A matrix that cannot be, or that lies outside of the file.
  case impossibleMatrix(path: String, index: Int, problem: String)
  /// The weights of a matrix do not have their checksum.
  case damagedMatrix(path: String, index: Int)
  /// The matrices are not those of this model.
  case wrongMatrix(path: String, index: Int, found: String, expected: String)
}

/// What was wrong with a weight cache, and what was done about it.
package enum WeightCacheWarning: Equatable, Sendable {
  /// A file that is made anew.
  case replaced(WeightCacheError)
  /// The model was loaded into memory of this process alone.
  case notUsed(WeightCacheError)
}

extension WeightCacheError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .noFolder(let path, let errno): "cannot make the folder \(path): \(words(errno))"
    case .cannotRead(let path, let errno): "cannot read \(path): \(words(errno))"
    case .cannotWrite(let path, let problem): "cannot write \(path): \(problem)"
    case .notARegularFile(let path): "\(path) is not a regular file"
    case .untrusted(let path, let owner, let mode):
      """
      \(path) belongs to user \(owner) with mode \(String(mode, radix: 8)); it must be writable by \
      its owner only, who must be this user or root
      """
    case .busy(let path, let seconds):
      "another process has been writing \(path) for \(seconds) seconds"
    default: "\(path): \(damage)"
    }
  }

  private var damage: String {
    switch self {
    case .wrongSize(_, let sizeBytes, let expected):
      "\(sizeBytes) bytes instead of \(expected)"
    case .wrongMagic(_, let found):
      "no file of weights: it starts with \(found), not with \(PackedFileHeader.magic)"
    case .otherLayout(_, let found, let expected):
      "its weights have layout \(found); this program uses \(expected)"
    case .otherModel: "its weights are those of another model file"
    case .damagedTable: "its table of matrices is damaged"
    case .impossibleMatrix(_, let index, let problem): "matrix \(index) \(problem)"
    case .damagedMatrix(_, let index): "the weights of matrix \(index) are damaged"
    case .wrongMatrix(_, let index, let found, let expected):
      "matrix \(index) is \(found), the model's is \(expected)"
    default: String(reflecting: self)
    }
  }

  /// Of the file or folder.
  private var path: String {
    switch self {
    case .noFolder(let path, _), .cannotRead(let path, _), .cannotWrite(let path, _),
      .notARegularFile(let path), .untrusted(let path, _, _), .busy(let path, _),
      .wrongSize(let path, _, _), .wrongMagic(let path, _), .otherLayout(let path, _, _),
      .otherModel(let path), .damagedTable(let path), .impossibleMatrix(let path, _, _),
      .damagedMatrix(let path, _), .wrongMatrix(let path, _, _, _):
      path
    }
  }

  private func words(_ code: Int32) -> String {
    // safe: strerror returns a terminated string, copied here before anyone else can ask.
    unsafe strerror(code).map { unsafe String(cString: $0) } ?? "error \(code)"
  }
}

extension WeightCacheWarning: CustomStringConvertible {
  package var description: String {
    switch self {
    case .replaced(let error): "weight cache: \(error); writing it anew"
    case .notUsed(let error):
      "weight cache: \(error); the weights stay in this process's own memory"
    }
  }
}
