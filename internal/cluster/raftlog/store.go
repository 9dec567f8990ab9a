package raftlog

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// The file DIR/raft.db holds three buckets. meta: incarnation (8 bytes, big endian), file (identity of the file the
// incarnation was made in, JSON), founders (JSON), hard (raftpb.HardState), retired (why this log may not vote again).
// log: entry index (8 bytes, big endian) -> entry. snap: last -> raftpb.Snapshot. Every protobuf value is preceded by its
// CRC-32C (4 bytes, big endian): bbolt checks its own pages only in part.
const (
	fileName    = "raft.db"
	lockTimeout = time.Second
)

func metaBucket() []byte { return []byte("meta") }
func logBucket() []byte  { return []byte("log") }
func snapBucket() []byte { return []byte("snap") }

// store is the durable log. It is used by one goroutine.
type store struct {
	db          *bolt.DB
	memory      *Disk // in place of db, in a simulation
	incarnation uint64
	founders    map[uint64]string
	hard        *raftpb.HardState
	snap        *raftpb.Snapshot
	entries     []*raftpb.Entry // what was read at open; given to the memory copy and dropped
	last        uint64          // index of the last entry on disk
	fresh       string          // why the log was made anew, empty if it was there
}

// errUnusable is a log that must not be used again: it is damaged, or not the one its incarnation was made with.
var errUnusable = errors.New("unusable log")

// openStore opens the log in dir. A log that is missing, damaged, restored from a copy or retired is replaced by an empty
// one with a new incarnation; the old file is kept beside it.
func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the cluster's log: %w", err)
	}
	path := filepath.Join(dir, fileName)
	s, err := readStore(path)
	switch {
	case err == nil:
		return s, keepIncarnation(path, s.incarnation)
	case errors.Is(err, os.ErrNotExist):
		return createStore(path, "there was no log")
	case !errors.Is(err, errUnusable):
		return nil, err
	}
	if kept := os.Rename(path, path+".unusable"); kept != nil {
		return nil, fmt.Errorf("open the cluster's log: set the unusable log aside: %w", kept)
	}
	return createStore(path, err.Error())
}

func readStore(path string) (*store, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open the cluster's log: %w", err)
	}
	if info.Size() == 0 {
		return nil, fmt.Errorf("open %s: %w: it is empty", path, errUnusable)
	}
	if err := verify(path); err != nil {
		return nil, err
	}
	db, err := openBolt(path, false)
	if err != nil {
		return nil, err
	}
	s := &store{db: db}
	if err := s.load(path); err != nil {
		db.Close()
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return s, nil
}

// load reads everything. bbolt panics on some damaged pages: those count as a damaged log.
func (s *store) load(path string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errUnusable, p)
		}
	}()
	return s.db.View(func(tx *bolt.Tx) error {
		meta, log, snap := tx.Bucket(metaBucket()), tx.Bucket(logBucket()), tx.Bucket(snapBucket())
		if meta == nil || log == nil || snap == nil {
			return fmt.Errorf("%w: parts are missing", errUnusable)
		}
		if why := meta.Get([]byte("retired")); why != nil {
			return fmt.Errorf("%w: it was retired: %s", errUnusable, why)
		}
		if err := s.loadIdentity(meta, path); err != nil {
			return err
		}
		if err := s.loadStates(meta, snap); err != nil {
			return err
		}
		return s.loadEntries(log)
	})
}

func (s *store) loadIdentity(meta *bolt.Bucket, path string) error {
	id := meta.Get([]byte("incarnation"))
	if len(id) != 8 {
		return fmt.Errorf("%w: it has no incarnation", errUnusable)
	}
	s.incarnation = binary.BigEndian.Uint64(id)
	var made fileIdentity
	if err := json.Unmarshal(meta.Get([]byte("file")), &made); err != nil {
		return fmt.Errorf("%w: it does not say which file it was made in: %w", errUnusable, err)
	}
	is, err := identify(path)
	if err != nil {
		return err
	}
	if made != is {
		return fmt.Errorf("%w: it is a copy or was restored (made in file %s, found in %s)", errUnusable, made, is)
	}
	if data := meta.Get([]byte("founders")); data != nil {
		if err := json.Unmarshal(data, &s.founders); err != nil {
			return fmt.Errorf("%w: founders: %w", errUnusable, err)
		}
	}
	return nil
}

func (s *store) loadStates(meta, snap *bolt.Bucket) error {
	s.hard, s.snap = &raftpb.HardState{}, &raftpb.Snapshot{}
	if data := meta.Get([]byte("hard")); data != nil {
		if err := unseal(data, s.hard); err != nil {
			return fmt.Errorf("hard state: %w", err)
		}
	}
	if data := snap.Get([]byte("last")); data != nil {
		if err := unseal(data, s.snap); err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
	}
	return nil
}

// loadEntries reads the log after the snapshot and demands that it has no gap and reaches the commit index.
func (s *store) loadEntries(log *bolt.Bucket) error {
	next := s.snap.GetMetadata().GetIndex() + 1
	cur := log.Cursor()
	for k, v := cur.Seek(indexKey(next)); k != nil; k, v = cur.Next() {
		e := &raftpb.Entry{}
		if err := unseal(v, e); err != nil {
			return fmt.Errorf("entry %x: %w", k, err)
		}
		if len(k) != 8 || binary.BigEndian.Uint64(k) != next || e.GetIndex() != next {
			return fmt.Errorf("%w: entry %d is missing", errUnusable, next)
		}
		s.entries = append(s.entries, e)
		next++
	}
	s.last = next - 1
	if commit := s.hard.GetCommit(); commit > s.last {
		return fmt.Errorf("%w: it ends at entry %d, but %d was committed", errUnusable, s.last, commit)
	}
	return nil
}

// createStore makes an empty log with a new incarnation. It is built under another name and renamed, so that a crash
// leaves either no log or a whole one.
func createStore(path, why string) (*store, error) {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("make the cluster's log: %w", err)
	}
	db, err := openBolt(tmp, false)
	if err != nil {
		return nil, fmt.Errorf("make the cluster's log: %w", err)
	}
	s := &store{db: db, incarnation: freshIncarnation(path), hard: &raftpb.HardState{}, snap: &raftpb.Snapshot{}, fresh: why}
	if err := s.initialise(tmp); err != nil {
		db.Close()
		return nil, fmt.Errorf("make the cluster's log: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		db.Close()
		return nil, fmt.Errorf("make the cluster's log: %w", err)
	}
	return s, syncDir(filepath.Dir(path))
}

func (s *store) initialise(path string) error {
	file, err := identify(path)
	if err != nil {
		return err
	}
	data, err := json.Marshal(file)
	if err != nil {
		return fmt.Errorf("encode the file's identity: %w", err)
	}
	return s.db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{metaBucket(), logBucket(), snapBucket()} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(metaBucket())
		if err := meta.Put([]byte("incarnation"), indexKey(s.incarnation)); err != nil {
			return err
		}
		return meta.Put([]byte("file"), data)
	})
}

// drawIncarnation draws a Raft ID: random, never 0 nor one of the library's own targets (the two highest).
func drawIncarnation() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails, by its documentation
	return binary.BigEndian.Uint64(b[:])>>1 | 1
}

// empty tells whether the log holds nothing at all, so that it may be founded.
func (s *store) empty() bool {
	return s.last == 0 && raft.IsEmptyHardState(s.hard) && raft.IsEmptySnap(s.snap)
}

// batch is what one Ready wants on disk.
type batch struct {
	hard     *raftpb.HardState
	entries  []*raftpb.Entry
	snap     *raftpb.Snapshot // replaces everything up to its index
	received bool             // snap came from the leader: it replaces the whole log
	founders map[uint64]string
}

// save makes a batch durable, all of it or nothing.
func (s *store) save(b batch) error {
	if s.memory != nil {
		return s.memory.save(b, &s.last)
	}
	last := s.last
	err := s.db.Update(func(tx *bolt.Tx) error {
		if err := saveMeta(tx.Bucket(metaBucket()), b); err != nil {
			return err
		}
		log := tx.Bucket(logBucket())
		if b.snap != nil {
			if err := put(tx.Bucket(snapBucket()), []byte("last"), b.snap); err != nil {
				return err
			}
			upto := b.snap.GetMetadata().GetIndex()
			if b.received {
				upto, last = max(last, upto), b.snap.GetMetadata().GetIndex()
			}
			if err := deleteEntries(log, 0, upto); err != nil {
				return err
			}
		}
		return saveEntries(log, b.entries, &last)
	})
	if err != nil {
		return fmt.Errorf("write the cluster's log: %w", err)
	}
	s.last = last
	return nil
}

func saveMeta(meta *bolt.Bucket, b batch) error {
	if b.hard != nil {
		if err := put(meta, []byte("hard"), b.hard); err != nil {
			return err
		}
	}
	if b.founders == nil {
		return nil
	}
	data, err := json.Marshal(b.founders)
	if err != nil {
		return err
	}
	return meta.Put([]byte("founders"), data)
}

// saveEntries writes entries over whatever was at and after the first one's index.
func saveEntries(log *bolt.Bucket, entries []*raftpb.Entry, last *uint64) error {
	for _, e := range entries {
		if err := put(log, indexKey(e.GetIndex()), e); err != nil {
			return err
		}
	}
	if len(entries) == 0 {
		return nil
	}
	old := *last
	*last = entries[len(entries)-1].GetIndex()
	return deleteEntries(log, *last+1, old)
}

// deleteEntries deletes the entries from first to last, both included.
func deleteEntries(log *bolt.Bucket, first, last uint64) error {
	var keys [][]byte // deleting under a cursor may make it skip
	cur := log.Cursor()
	for k, _ := cur.Seek(indexKey(first)); k != nil && binary.BigEndian.Uint64(k) <= last; k, _ = cur.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if err := log.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// retire marks the log as one that never votes again.
func (s *store) retire(why string) error {
	if s.memory != nil {
		s.memory.retired = why
		return nil
	}
	return s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(metaBucket()).Put([]byte("retired"), []byte(why)) })
}

func (s *store) close() error {
	if s.memory != nil {
		return nil
	}
	return s.db.Close()
}

func indexKey(i uint64) []byte { return binary.BigEndian.AppendUint64(nil, i) }

func put(b *bolt.Bucket, key []byte, m proto.Message) error {
	data, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return b.Put(key, seal(data))
}

func seal(data []byte) []byte {
	out := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(data)), checksum(data))
	return append(out, data...)
}

func unseal(data []byte, m proto.Message) error {
	if len(data) < 4 || binary.BigEndian.Uint32(data) != checksum(data[4:]) {
		return fmt.Errorf("%w: checksum does not match", errUnusable)
	}
	if err := proto.Unmarshal(data[4:], m); err != nil {
		return fmt.Errorf("%w: %w", errUnusable, err)
	}
	return nil
}

func checksum(data []byte) uint32 { return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) }

// copied makes the copy Raft reads from.
func (s *store) copied() (*raft.MemoryStorage, error) {
	m := raft.NewMemoryStorage()
	if !raft.IsEmptySnap(s.snap) {
		if err := m.ApplySnapshot(s.snap); err != nil {
			return nil, fmt.Errorf("read the cluster's log: snapshot: %w", err)
		}
	}
	if err := m.SetHardState(s.hard); err != nil {
		return nil, fmt.Errorf("read the cluster's log: %w", err)
	}
	if err := m.Append(s.entries); err != nil {
		return nil, fmt.Errorf("read the cluster's log: %w", err)
	}
	s.entries = nil
	return m, nil
}
