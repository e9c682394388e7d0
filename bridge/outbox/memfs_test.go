package outbox

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// memFS is a file system in memory that remembers what a power cut would leave: flushed data, and any part of what was not flushed.
type memFS struct {
	mu      sync.Mutex
	names   map[string]*inode // as seen
	durable map[string]*inode // after a power cut
	pending []dirOp
	fault   func(op, name string) error // called before each operation; an error is returned instead
	short   bool                        // a faulty write leaves half of its bytes
	nonces  map[string][sha256.Size]byte
	reused  []string
}

type inode struct {
	data    []byte
	durable []byte
	writes  []memWrite
	salt    []byte // of the segment last begun in it
}

type memWrite struct {
	off  int64
	data []byte
	trim int64 // with nil data: new size
}

type dirOp struct {
	from, to string // from "": create; to "": remove
	node     *inode
}

type chooser func(label string, n int) int // a number below n

func newMemFS() *memFS {
	return &memFS{names: map[string]*inode{}, durable: map[string]*inode{}, nonces: map[string][sha256.Size]byte{}}
}

func (m *memFS) check(op, name string) error {
	if m.fault != nil {
		if err := m.fault(op, filepath.Base(name)); err != nil {
			return &os.PathError{Op: op, Path: name, Err: err}
		}
	}
	return nil
}

func (m *memFS) locked(op, name string, fn func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(op, name); err != nil {
		return err
	}
	return fn()
}

func (m *memFS) MkdirAll(dir string) error {
	return m.locked("mkdir", dir, func() error { return nil })
}

func (m *memFS) ReadDir(dir string) (names []string, err error) {
	err = m.locked("readdir", dir, func() error {
		for n := range m.names {
			names = append(names, filepath.Base(n))
		}
		return nil
	})
	return names, err
}

func (m *memFS) Open(name string, _ bool) (f File, err error) {
	err = m.locked("open", name, func() error {
		node, ok := m.names[name]
		if !ok {
			return &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
		}
		f = &memFile{m, node, name}
		return nil
	})
	return f, err
}

func (m *memFS) Create(name string) (f File, err error) {
	err = m.locked("create", name, func() error {
		node := &inode{}
		m.names[name] = node
		m.pending = append(m.pending, dirOp{to: name, node: node})
		f = &memFile{m, node, name}
		return nil
	})
	return f, err
}

func (m *memFS) Rename(from, to string) error {
	return m.locked("rename", from, func() error {
		node, ok := m.names[from]
		if !ok {
			return os.ErrNotExist
		}
		delete(m.names, from)
		m.names[to] = node
		m.pending = append(m.pending, dirOp{from: from, to: to, node: node})
		return nil
	})
}

func (m *memFS) Remove(name string) error {
	return m.locked("remove", name, func() error {
		if _, ok := m.names[name]; !ok {
			return os.ErrNotExist
		}
		delete(m.names, name)
		m.pending = append(m.pending, dirOp{from: name})
		return nil
	})
}

func (m *memFS) SyncDir(dir string) error {
	return m.locked("syncdir", dir, func() error {
		m.durable = map[string]*inode{}
		for k, v := range m.names {
			m.durable[k] = v
		}
		m.pending = nil
		return nil
	})
}

// crash is a power cut: of what was not flushed, each 512-byte sector and each name is kept, lost, or (sectors) half written, as choose says.
// Name operations survive in order up to some point, as in a journal; or, every other time, each on its own.
func (m *memFS) crash(choose chooser) {
	m.mu.Lock()
	defer m.mu.Unlock()
	keepFirst, journal := choose("dir ops kept", len(m.pending)+1), choose("journal", 2) == 0
	for i, op := range m.pending {
		if journal && i >= keepFirst || !journal && choose("keep dir op", 2) == 0 {
			continue
		}
		if op.from != "" {
			delete(m.durable, op.from)
		}
		if op.to != "" {
			for name, node := range m.durable { // an inode has one name
				if node == op.node {
					delete(m.durable, name)
				}
			}
			m.durable[op.to] = op.node
		}
	}
	m.pending = nil
	m.names = map[string]*inode{}
	for name, node := range m.durable {
		m.names[name] = node
		data := node.durable
		for _, w := range node.writes {
			if w.data == nil {
				if choose("keep size", 2) == 1 {
					data = resize(data, w.trim)
				}
				continue
			}
			for at := int64(0); at < int64(len(w.data)); {
				n := min(512-(w.off+at)%512, int64(len(w.data))-at)
				sector := w.data[at : at+n]
				switch choose("sector", 4) {
				case 0: // lost
				case 1: // torn
					data = place(data, w.off+at, sector[:n/2])
				default:
					data = place(data, w.off+at, sector)
				}
				at += n
			}
		}
		node.data, node.durable, node.writes = bytes.Clone(data), bytes.Clone(data), nil
	}
}

func resize(b []byte, n int64) []byte {
	if n <= int64(len(b)) {
		return bytes.Clone(b[:n])
	}
	return append(bytes.Clone(b), make([]byte, n-int64(len(b)))...)
}

func place(b []byte, off int64, p []byte) []byte {
	if need := off + int64(len(p)); int64(len(b)) < need {
		b = resize(b, need)
	}
	copy(b[off:], p)
	return b
}

// noteNonce watches that no two different ciphertexts are written with one salt at one offset.
func (m *memFS) noteNonce(node *inode, p []byte, off int64) {
	if off == 0 && len(p) >= headerSize && string(p[:8]) == magicHeader {
		node.salt = bytes.Clone(p[16 : 16+saltSize])
	}
	if len(p) < 4 || string(p[:4]) != magicBatch {
		return
	}
	key := fmt.Sprintf("%x@%d", node.salt, off)
	sum := sha256.Sum256(p)
	if old, ok := m.nonces[key]; ok && old != sum {
		m.reused = append(m.reused, key)
	}
	m.nonces[key] = sum
}

type memFile struct {
	fs   *memFS
	node *inode
	name string
}

func (f *memFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.fs.locked("read", f.name, func() error {
		if off < int64(len(f.node.data)) {
			n = copy(p, f.node.data[off:])
		}
		if n < len(p) {
			return io.EOF
		}
		return nil
	})
	return n, err
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.fs.check("write", f.name)
	if err != nil {
		if !f.fs.short {
			return 0, err
		}
		p = p[:len(p)/2]
	}
	f.fs.noteNonce(f.node, p, off)
	f.node.data = place(f.node.data, off, p)
	f.node.writes = append(f.node.writes, memWrite{off: off, data: bytes.Clone(p)})
	return len(p), err
}

func (f *memFile) resize(op string, size int64) error {
	return f.fs.locked(op, f.name, func() error {
		if op == "allocate" {
			size = max(size, int64(len(f.node.data)))
		}
		f.node.data = resize(f.node.data, size)
		f.node.writes = append(f.node.writes, memWrite{trim: size})
		return nil
	})
}

func (f *memFile) Allocate(size int64) error { return f.resize("allocate", size) }
func (f *memFile) Truncate(size int64) error { return f.resize("truncate", size) }

func (f *memFile) Size() (n int64, err error) {
	err = f.fs.locked("size", f.name, func() error { n = int64(len(f.node.data)); return nil })
	return n, err
}

func (f *memFile) Sync() error {
	return f.fs.locked("sync", f.name, func() error {
		f.node.durable, f.node.writes = bytes.Clone(f.node.data), nil
		return nil
	})
}

func (f *memFile) Close() error { return nil }

// edit changes a file's flushed bytes.
func (m *memFS) edit(name string, fn func([]byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node := m.names[name]
	node.data = fn(node.data)
	node.durable, node.writes = bytes.Clone(node.data), nil
}
