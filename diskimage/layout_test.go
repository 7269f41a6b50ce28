package diskimage

// memoryFile is a RawFile in memory.
type memoryFile []byte

func (m memoryFile) ReadAt(b []byte, off int64) (int, error)  { return copy(b, m[off:]), nil }
func (m memoryFile) WriteAt(b []byte, off int64) (int, error) { return copy(m[off:], b), nil }
func (m memoryFile) Truncate(int64) error                     { return nil }
