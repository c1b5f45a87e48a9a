package spool

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"kaudit/internal/cursor"
	"kaudit/pkg/source"
)

const (
	// MinBytes is the smallest Config.MaxBytes.
	MinBytes = 16 << 20
	// segmentBytes is how large segments become, unless the limit is so small that an eighth of it is less. The disk
	// that evaluated deliveries still take is given back a segment at a time.
	segmentBytes = 32 << 20

	// linger and lingerBytes bound how long a sync waits for more deliveries: until linger after the one before, or
	// lingerBytes are there. A lone delivery is synced at once, and many small ones are not one sync each.
	linger      = 2 * time.Millisecond
	lingerBytes = 1 << 20

	// positionEvery is how often the position is made durable while it moves.
	positionEvery = time.Second
	// episode is how long the spool must have taken deliveries before a refusal is told to rules again.
	episode = time.Minute
)

// Config is how a spool is set up.
type Config struct {
	// Dir is the folder. It is made if it is not there, for its owner only. One spool at a time has it.
	Dir string
	// Name is what notices call the source; empty means the folder.
	Name string
	// MaxBytes is how much of the disk the spool may take.
	MaxBytes int64
	// Log takes what an operator should know; nil means nobody reads.
	Log *slog.Logger
	// Notify is told when the spool refuses, and of what is lost; nil means nobody listens.
	Notify func(source.Notice)

	disk disk // what tests put in its place
}

// A Spool is a [source.Sink] that keeps deliveries on disk, and a [source.Source] of what it keeps. See
// [Spool.Source] for how it is put between the two.
type Spool struct {
	cfg         Config
	segmentSize int64
	positions   *cursor.File
	counters    counters

	wake     chan struct{} // the writer has something to do
	moved    chan struct{} // the reader has something to do
	advanced chan struct{} // the position moved
	stop     chan struct{} // closed by Close
	running  sync.WaitGroup
	quiet    [quietKinds]rate.Sometimes // for what would be logged over and over

	mu       sync.Mutex
	closed   bool
	segments []*segment // the oldest first; the last may be the one that is written to
	next     uint64     // number of the next record
	used     int64      // what all segments take, and what is on its way into one
	pending  []*entry
	waiting  int64 // bytes in pending
	seal     bool  // the writer is asked to end the segment it writes to

	full    bool      // refused for the limit, and nothing was given back since
	failing error     // why the disk did not take the last write
	told    bool      // rules were told of refusals
	taking  time.Time // since when it is neither full nor failing, if it was either
	unsaid  uint64    // refusals that rules were not told of

	read     uint64   // the number after that of the last record read
	inFlight []flight // records that were handed on, from the first that is not evaluated

	storing sync.Mutex // taken before mu
	stored  uint64     // position
	value   [8]byte    // the same, on its way to its file
}

// What is logged now and then only.
const (
	quietPosition = iota
	quietRead
	quietRemove
	quietRecovery
	quietKinds
)

// An entry is a delivery on its way to the disk.
type entry struct {
	d      source.Delivery
	head   head
	size   int64
	taken  bool // the writer has it
	result chan error
}

// A flight is a record that was handed on.
type flight struct {
	number uint64
	stamp  int64
	done   bool
}

// Open opens the spool in a folder, or makes it, and finds what was not evaluated. Errors name the setting.
func Open(cfg Config) (*Spool, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Notify == nil {
		cfg.Notify = func(source.Notice) {}
	}
	if cfg.disk == nil {
		cfg.disk = system{}
	}
	cfg.Name = cmp.Or(cfg.Name, cfg.Dir)
	if cfg.Dir == "" {
		return nil, errors.New("spool: dir is empty; name a folder that outlives the process, like /var/lib/kaudit/spool")
	}
	if cfg.MaxBytes < MinBytes {
		return nil, fmt.Errorf("spool: maxBytes: %d bytes is too little; write at least %d", cfg.MaxBytes, MinBytes)
	}
	s := &Spool{
		cfg:         cfg,
		segmentSize: min(segmentBytes, cfg.MaxBytes/8),
		wake:        make(chan struct{}, 1),
		moved:       make(chan struct{}, 1),
		advanced:    make(chan struct{}, 1),
		stop:        make(chan struct{}),
	}
	for i := range s.quiet {
		s.quiet[i].Interval = 10 * time.Second
	}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("spool: dir: %w", err)
	}
	s.running.Go(newWriter(s).write)
	s.running.Go(s.keepPosition)
	return s, nil
}

// load finds the position and the segments.
func (s *Spool) load() (err error) {
	dir := s.cfg.Dir
	if err := s.makeDir(dir); err != nil {
		return err
	}
	if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o077 != 0 {
		s.cfg.Log.Warn("spool: others may look into the folder, and audit events hold secrets; chmod 0700 it", "dir", dir)
	}
	if s.positions, err = cursor.Open(filepath.Join(dir, "position"), 8); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.positions.Close()
		}
	}()
	position := uint64(1)
	if v := s.positions.Load(0); v != nil {
		position = max(position, binary.LittleEndian.Uint64(v))
	}
	os.Remove(filepath.Join(dir, probeName)) // of a process that was killed
	list, err := segments(dir)
	if err != nil {
		return err
	}
	for i, seg := range list {
		if i+1 < len(list) {
			// Records from there on were refused when they could not be written, and their numbers given again.
			seg.next = list[i+1].first
		} else if err := seg.survey(); err != nil {
			return err
		}
		if torn := seg.size - seg.end; torn > 0 {
			s.counters.skipped.Add(uint64(torn))
			s.cfg.Log.Warn("spool: the last segment ends in what was never acknowledged, or in damage; left out", "file", seg.path, "bytes", torn)
		}
	}
	for _, seg := range list {
		// The names of segments count up; the position may be behind after a power cut, never ahead of what is there.
		if seg.next <= position || seg.end == 0 {
			if err := s.cfg.disk.Remove(seg.path); err != nil {
				return err
			}
			continue
		}
		s.segments = append(s.segments, seg)
		s.used += seg.size
	}
	s.next = position
	if n := len(s.segments); n > 0 {
		position = max(position, s.segments[0].first)
		s.next = max(position, s.segments[n-1].next)
	}
	s.read, s.stored = position, position
	if n := s.next - position; n > 0 {
		s.cfg.Log.Info("spool: reading what was not evaluated", "dir", dir, "deliveries", n, "bytes", s.used)
	}
	return nil
}

// makeDir makes a folder and those above it, durably.
func (s *Spool) makeDir(dir string) error {
	var parents []string
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		if _, err := os.Stat(at); err == nil || at == filepath.Dir(at) {
			break
		}
		parents = append(parents, filepath.Dir(at))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, parent := range parents {
		if err := s.cfg.disk.SyncDir(parent); err != nil {
			return err
		}
	}
	return nil
}

// Deliver implements [source.Sink]. It returns nil when the delivery is on disk, and calls d.Done before: its memory is
// not needed any more. It returns [source.ErrFull] at once when there is no room or the disk fails, and when ctx's
// deadline passes while the disk is busy with others.
func (s *Spool) Deliver(ctx context.Context, d source.Delivery) error {
	e := &entry{d: d, size: headSize + int64(len(d.Source)+len(d.Cluster)+len(d.Payload)), result: make(chan error, 1)}
	if len(d.Payload) > largest || len(d.Source) > math.MaxUint16 || len(d.Cluster) > math.MaxUint16 || e.size > s.cfg.MaxBytes {
		s.counters.tooLarge.Add(1)
		return fmt.Errorf("spool: a delivery of %d bytes does not fit: %w; set maxBytes to several times that", e.size, source.ErrRejected)
	}
	e.head = head{
		sum:     sum(d),
		stamp:   time.Now().UnixNano(),
		payload: uint32(len(d.Payload)),
		source:  uint16(len(d.Source)),
		cluster: uint16(len(d.Cluster)),
	}
	if d.Lines {
		e.head.flags |= flagLines
	}
	if err := s.enqueue(e); err != nil {
		return err
	}
	var err error
	select {
	case err = <-e.result:
	case <-ctx.Done():
		if s.withdraw(e) {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return source.ErrFull
			}
			return ctx.Err()
		}
		err = <-e.result // the disk reads from the payload: nothing else may have it
	}
	if err == nil && d.Done != nil {
		d.Done()
	}
	return err
}

func sum(d source.Delivery) uint32 {
	c := crc32.Checksum([]byte(d.Source), castagnoli)
	c = crc32.Update(c, castagnoli, []byte(d.Cluster))
	return crc32.Update(c, castagnoli, d.Payload)
}

// enqueue gives an entry to the writer if there is room.
func (s *Spool) enqueue(e *entry) error {
	s.mu.Lock()
	err := s.ready()
	if err == nil && s.used+e.size > s.cfg.MaxBytes {
		// A huge delivery, for which there may be no room for long, does not keep ordinary ones out.
		s.full = s.full || e.size <= s.segmentSize
		signal(s.moved) // the reader may have something to give back
		err = errFull
	}
	if err != nil {
		defer s.tell(s.refuse(1))
	}
	defer s.mu.Unlock()
	if err != nil {
		return err
	}
	s.used += e.size
	s.waiting += e.size
	s.pending = append(s.pending, e)
	signal(s.wake)
	return nil
}

// withdraw takes an entry back that the writer has not taken yet.
func (s *Spool) withdraw(e *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.taken {
		return false
	}
	for i, p := range s.pending {
		if p == e {
			s.pending = append(s.pending[:i], s.pending[i+1:]...)
			s.used -= e.size
			s.waiting -= e.size
			return true
		}
	}
	return false // the result is there
}

var errFull = fmt.Errorf("spool: maxBytes is reached: %w; Falco evaluates less than comes", source.ErrFull)

// Ready implements [source.Readier]. It is an error from the first refusal until there is room again.
func (s *Spool) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready()
}

// ready returns why nothing is taken, whatever it is. The caller holds the lock.
func (s *Spool) ready() error {
	switch {
	case s.closed:
		return source.ErrClosed
	case s.failing != nil:
		return s.failing
	case s.full:
		return errFull
	}
	return nil
}

// refuse counts refusals, and returns what to tell of them: nothing if it was told in this episode. The caller holds
// the lock.
func (s *Spool) refuse(n uint64) (notice source.Notice) {
	if s.closed {
		return notice
	}
	if s.failing != nil {
		s.counters.refusedDisk.Add(n)
	} else {
		s.counters.refusedFull.Add(n)
	}
	s.unsaid += n
	fresh := !s.told || !s.taking.IsZero() && time.Since(s.taking) >= episode
	s.told = true
	s.taking = time.Time{}
	s.settled()
	if fresh {
		notice = source.Notice{Name: source.SpoolFull, Source: s.cfg.Name, Count: s.unsaid, Message: fullMessage}
		if s.failing != nil {
			notice.Message = failingMessage
		}
		s.unsaid = 0
	}
	return notice
}

const (
	fullMessage    = "The spool is full, and senders are refused: Falco evaluates less than comes. Set maxBytes to more, or let the API server's audit policy record less."
	failingMessage = "The disk of the spool is full or fails, and senders are refused. The log has the error; make room, or replace the disk."
)

// tell tells of refusals, if there is something to tell. The caller does not hold the lock: a log may be slow.
func (s *Spool) tell(notice source.Notice) {
	if notice.Name != "" {
		s.cfg.Log.Error("spool: deliveries are refused", "dir", s.cfg.Dir, "error", s.Ready())
		s.cfg.Notify(notice)
	}
}

// settled notes since when nothing stands against taking deliveries, if so. The caller holds the lock.
func (s *Spool) settled() {
	if s.told && s.taking.IsZero() && s.ready() == nil {
		s.taking = time.Now()
	}
}

// evaluated is the Done of what the reader hands on.
func (s *Spool) evaluated(number uint64) {
	s.mu.Lock()
	for i := range s.inFlight {
		if f := &s.inFlight[i]; f.number == number { // nearly always the first
			f.done = true
			break
		}
	}
	n := 0
	for n < len(s.inFlight) && s.inFlight[n].done {
		n++
	}
	s.inFlight = s.inFlight[n:]
	s.mu.Unlock()
	s.counters.evaluated.Add(1)
	s.advance()
}

// advance stores the position if it has moved. It does so outside the lock, since the disk may be slow.
func (s *Spool) advance() {
	s.storing.Lock()
	defer s.storing.Unlock()
	s.mu.Lock()
	position, closed := s.position(), s.closed
	s.mu.Unlock()
	if closed || position == s.stored {
		return
	}
	s.stored = position
	if err := s.positions.Store(0, binary.LittleEndian.AppendUint64(s.value[:0], position)); err != nil {
		s.counters.positionErrors.Add(1)
		s.quiet[quietPosition].Do(func() {
			s.cfg.Log.Warn("spool: the position cannot be stored; what is evaluated now would come again after a restart", "error", err)
		})
	}
	signal(s.advanced)
	signal(s.moved)
}

// position is the number of the first record that is not evaluated.
func (s *Spool) position() uint64 {
	if len(s.inFlight) > 0 {
		return s.inFlight[0].number
	}
	return s.read
}

// keepPosition makes the position durable now and then.
func (s *Spool) keepPosition() {
	pause := time.NewTimer(0)
	<-pause.C
	for {
		select {
		case <-s.advanced:
		case <-s.stop:
			return
		}
		if err := s.positions.Sync(); err != nil {
			s.counters.positionErrors.Add(1)
			s.quiet[quietPosition].Do(func() {
				s.cfg.Log.Warn("spool: the position cannot be synced; more would come again after a power cut", "error", err)
			})
		}
		pause.Reset(positionEvery)
		select {
		case <-pause.C:
		case <-s.stop:
			return
		}
	}
}

// Close writes and syncs what it was given, and lets the folder go. What is not evaluated comes again when it is opened
// next. It is called after the source of [Spool.Source] has returned, or if that never ran.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	signal(s.wake)
	s.running.Wait()
	s.storing.Lock()
	defer s.storing.Unlock()
	return s.positions.Close()
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
