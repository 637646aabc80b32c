package container

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/twtrace/twtrace/decode/pcap"
)

const (
	maxMembers   = 1_000_000
	maxName      = 4096
	maxNameBytes = 64 << 20 // of all members of one archive
	maxDepth     = 3        // archives within each other
	smallMember  = 1 << 20  // kept in memory ...
	smallTotal   = 64 << 20 // ... up to this for one archive
	maxZipMemory = 256 << 20
)

// Walk visits the files under name, which is a file or a folder of fsys, in
// lexical order, and in place of an archive its members. A folder's hidden
// files and folders (.name) are passed over. Links within folders are refused,
// not followed: what they point to in the same folder is visited anyway.
//
// What cannot be used (an unreadable folder, a damaged archive, a member with
// a name that leads out of it, a link, a device) goes to refused, and the walk
// goes on. An error of visit ends it and is returned; fs.SkipAll ends it
// without one. A File may be opened after the walk.
func Walk(fsys fs.FS, name string, visit func(*File) error, refused func(name string, err error)) error {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return err
	}
	w := &walker{fsys, visit, refused}
	base := path.Base(name)
	switch {
	case info.IsDir():
		err = w.folder(name, "")
	case info.Mode().IsRegular():
		f := w.plain(name, base, info.Size())
		// The members of an archive that is the input itself are named from
		// its root.
		err = w.file(f, archiveKind(f), "", 0)
	default:
		// A pipe: it is as with standard input.
		err = visit(&File{Name: base, Size: -1, once: &onceFile{open: func() (io.ReadCloser, error) { return fsys.Open(name) }}})
	}
	if err == fs.SkipAll {
		return nil
	}
	return err
}

type walker struct {
	fsys    fs.FS
	visit   func(*File) error
	refused func(string, error)
}

func (w *walker) plain(name, rel string, size int64) *File {
	return &File{Name: rel, Size: size, open: func() (io.ReadCloser, error) { return w.fsys.Open(name) }}
}

func (w *walker) folder(dir, rel string) error {
	entries, err := fs.ReadDir(w.fsys, dir)
	if err != nil {
		w.refused(cmp.Or(rel, path.Base(dir)), err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		name, sub := path.Join(dir, e.Name()), path.Join(rel, e.Name())
		switch {
		case e.IsDir():
			err = w.folder(name, sub)
		case e.Type().IsRegular():
			info, ierr := e.Info()
			if ierr != nil {
				w.refused(sub, ierr)
				continue
			}
			f := w.plain(name, sub, info.Size())
			err = w.file(f, archiveKind(f), sub, 0)
		case e.Type()&fs.ModeSymlink != 0:
			w.refused(sub, errors.New("symbolic link, not followed: name its target"))
			continue
		default:
			w.refused(sub, fmt.Errorf("not a regular file (%s)", e.Type()))
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// archive is what archiveKind found.
type archive struct {
	kind Kind
	comp Compression
}

// archiveKind tells whether f is an archive. What cannot be read is none; whoever
// reads the file will find out why. Whoever asks what it is need not open it.
func archiveKind(f *File) archive {
	c, err := f.Identify()
	if err != nil {
		return archive{}
	}
	return archive{c.Kind, c.Compression}
}

func archiveOf(r io.Reader) archive {
	d, c, err := NewReader(r, Limits{})
	if err != nil {
		return archive{}
	}
	defer d.Close()
	head := make([]byte, 512)
	n, _ := io.ReadFull(d, head)
	return archive{sniffBinary(head[:n]), c}
}

// file visits f, or its members if it is an archive; they are named under
// prefix.
func (w *walker) file(f *File, a archive, prefix string, depth int) error {
	if a.kind == Pcapng {
		return w.packed(f, a, prefix, depth)
	}
	if !a.kind.Archive() {
		return w.visit(f)
	}
	if depth == maxDepth {
		w.refused(f.Name, fmt.Errorf("archive inside %d others, not opened", maxDepth))
		return nil
	}
	l := &listing{w: w, archive: f.Name, prefix: prefix}
	if a.kind == Tar {
		l.tar(f)
	} else {
		h := &zipHandle{open: f.open, comp: a.comp}
		if err := h.acquire(); err != nil {
			w.refused(f.Name, err)
			return nil
		}
		defer h.release()
		l.zip(h)
	}
	return l.visit(depth + 1)
}

// packed visits a capture, and as members of an archive of its name the files
// that are attached to it, if any are.
func (w *walker) packed(f *File, a archive, prefix string, depth int) error {
	files, err := f.attached()
	if err != nil || files == nil || depth == maxDepth {
		return w.visit(f) // who reads the file will find out why
	}
	l := &listing{w: w, archive: f.Name, prefix: prefix}
	l.tar(&File{Name: f.Name, Size: int64(len(files)), open: func() (io.ReadCloser, error) {
		files, err := f.attached()
		if err != nil {
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(files)), nil
	}})
	own := f.As(path.Join(prefix, path.Base(f.Name)))
	l.members = append(l.members, member{file: own, order: l.count, a: archive{Unknown, a.comp}, seen: true, prefix: own.Name})
	return l.visit(depth + 1)
}

// Packed tells whether files are attached to a capture.
func (f *File) Packed() bool {
	files, err := f.attached()
	return err == nil && files != nil
}

// attached are the files that a capture holds beside its packets, as a tar.
func (f *File) attached() ([]byte, error) {
	if f.once != nil {
		head, err := f.once.ahead(12)
		if err != nil || len(head) < 12 {
			return nil, err
		}
		n := pcap.MaxHeader
		if Compressed(head) == None {
			n = pcap.HeaderLen(head) // no more than that: the packets may be long in coming
		}
		if head, err = f.once.ahead(n); err != nil {
			return nil, err
		}
		return attachment(bytes.NewReader(head))
	}
	rc, err := f.open()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return attachment(rc)
}

func attachment(r io.Reader) ([]byte, error) {
	body, _, err := NewReader(r, Limits{})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return pcap.Attachment(body)
}

// listing is the members of one archive.
type listing struct {
	w               *walker
	archive, prefix string
	members         []member
	count           int
	nameBytes       int
	inMemory        int64
}

type member struct {
	file   *File
	order  int
	a      archive
	seen   bool // a is known
	prefix string
}

// add checks the next member's name. It gives nil for one that is refused or
// passed over, and false when there are too many.
func (l *listing) add(name string, size int64) (*member, bool) {
	if l.count++; l.count > maxMembers || l.nameBytes+len(name) > maxNameBytes {
		l.w.refused(l.archive, fmt.Errorf("more than %d members or %d bytes of names: the rest is left out", maxMembers, maxNameBytes))
		return nil, false
	}
	if err := memberName(name); err != nil {
		l.w.refused(path.Join(cmp.Or(l.prefix, l.archive), fmt.Sprintf("member %d", l.count)), err)
		return nil, true
	}
	name = path.Clean(name)
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") {
			return nil, true
		}
	}
	l.nameBytes += len(name)
	full := path.Join(l.prefix, name)
	l.members = append(l.members, member{file: &File{Name: full, Size: size}, order: l.count - 1, prefix: full})
	return &l.members[len(l.members)-1], true
}

// memberName refuses names that lead out of the archive, and worse.
func memberName(name string) error {
	switch {
	case len(name) > maxName:
		return fmt.Errorf("name of %d bytes, want at most %d", len(name), maxName)
	case strings.Trim(name, "./") == "" && !strings.Contains(name, ".."):
		return fmt.Errorf("name %q, want a file's", name)
	case strings.ContainsRune(name, 0):
		return fmt.Errorf("name %q has a NUL", name)
	case strings.HasPrefix(name, "/") || len(name) > 1 && name[1] == ':':
		return fmt.Errorf("name %q is absolute", name)
	case slices.Contains(strings.Split(name, "/"), ".."):
		return fmt.Errorf("name %q leads out of the archive", name)
	}
	return nil
}

// visit goes through the members in the order that a folder of the same files
// would have. Of members with one name the last counts, as when unpacking.
func (l *listing) visit(depth int) error {
	slices.SortFunc(l.members, func(a, b member) int {
		if c := comparePaths(a.file.Name, b.file.Name); c != 0 {
			return c
		}
		return a.order - b.order
	})
	for i, m := range l.members {
		if i+1 < len(l.members) && l.members[i+1].file.Name == m.file.Name {
			l.w.refused(m.file.Name, errors.New("a later member of the archive has the same name"))
			continue
		}
		if !m.seen {
			m.a = archiveKind(m.file)
		}
		if err := l.w.file(m.file, m.a, m.prefix, depth); err != nil {
			return err
		}
	}
	return nil
}

// comparePaths orders as a walk does: element by element.
func comparePaths(a, b string) int {
	for {
		x, restA, moreA := strings.Cut(a, "/")
		y, restB, moreB := strings.Cut(b, "/")
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
		switch {
		case !moreA && !moreB:
			return 0
		case !moreA:
			return -1
		case !moreB:
			return 1
		}
		a, b = restA, restB
	}
}

// tar lists a tar. One pass reads it all, so small members and the beginnings
// of others are kept.
func (l *listing) tar(f *File) {
	tr, closer, err := openTar(f)
	if err != nil {
		l.w.refused(l.archive, err)
		return
	}
	defer closer()
	for index := 0; ; index++ {
		h, err := tr.Next()
		if err == io.EOF {
			return
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			l.w.refused(l.archive, fmt.Errorf("tar: after %d members: %w", index, err))
			return
		}
		switch h.Typeflag {
		case tar.TypeReg, tar.TypeGNUSparse:
		case tar.TypeDir, tar.TypeXGlobalHeader:
			continue
		default:
			name := fmt.Sprintf("member %d", index+1)
			if memberName(h.Name) == nil {
				name = path.Clean(h.Name)
			}
			l.w.refused(path.Join(cmp.Or(l.prefix, l.archive), name), fmt.Errorf("link, device or other special member (type %q)", h.Typeflag))
			continue
		}
		m, ok := l.add(h.Name, h.Size)
		if !ok {
			return
		}
		if m == nil {
			continue
		}
		if h.Size <= smallMember && l.inMemory+h.Size <= smallTotal {
			l.inMemory += h.Size
			data, err := io.ReadAll(io.LimitReader(tr, h.Size))
			m.file.open = func() (io.ReadCloser, error) { return &memory{bytes.NewReader(data), err}, nil }
			m.a, m.seen = archiveOf(bytes.NewReader(data)), true
			continue
		}
		m.file.open = func() (io.ReadCloser, error) { return openMember(f, index) }
		// Knowing the beginning saves reading the archive up to here again.
		head, _ := io.ReadAll(io.LimitReader(tr, HeadSize))
		if c, err := identify(bytes.NewReader(head), int64(len(head)), true); err == nil {
			m.a, m.seen = archive{c.Kind, c.Compression}, true
			c.Head = nil
			m.file.known.Store(&c)
		}
	}
}

// openTar reads f's members. The file itself is handed to archive/tar when it
// is not compressed and can seek, so that members need not be read to be passed.
func openTar(f *File) (*tar.Reader, func() error, error) {
	rc, err := f.open()
	if err != nil {
		return nil, nil, err
	}
	if s, ok := rc.(io.Seeker); ok {
		head := make([]byte, 6)
		n, _ := io.ReadFull(rc, head)
		if _, err := s.Seek(0, io.SeekStart); err != nil {
			rc.Close()
			return nil, nil, err
		}
		if Compressed(head[:n]) == None {
			return tar.NewReader(rc), rc.Close, nil
		}
	}
	d, _, err := NewReader(rc, Limits{})
	if err != nil {
		rc.Close()
		return nil, nil, err
	}
	return tar.NewReader(d), func() error { return errors.Join(d.Close(), rc.Close()) }, nil
}

// openMember reads the archive up to one member.
func openMember(f *File, index int) (io.ReadCloser, error) {
	tr, closer, err := openTar(f)
	if err != nil {
		return nil, err
	}
	for range index + 1 {
		if _, err := tr.Next(); err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			closer()
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("tar: the archive changed while it was read: %w", err)
		}
	}
	return readCloser{tr, closer}, nil
}

// memory is a member kept from the walk, and the error that ended it there.
type memory struct {
	*bytes.Reader
	err error
}

func (m *memory) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if err == io.EOF && m.err != nil {
		err = m.err
	}
	return n, err
}

// WriteTo would hide the error.
func (m *memory) WriteTo(w io.Writer) (int64, error) {
	n, err := m.Reader.WriteTo(w)
	if err == nil {
		err = m.err
	}
	return n, err
}

func (m *memory) Close() error { return nil }

// zip lists a zip, of which h is held open meanwhile.
func (l *listing) zip(h *zipHandle) {
	zr, err := zip.NewReader(h, h.size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		l.w.refused(l.archive, err)
		return
	}
	for _, e := range zr.File {
		// Some programs for Windows write the other slash.
		name := strings.ReplaceAll(e.Name, `\`, "/")
		if strings.HasSuffix(name, "/") {
			continue
		}
		size := int64(-1)
		if e.UncompressedSize64 <= 1<<62 {
			size = int64(e.UncompressedSize64)
		}
		m, ok := l.add(name, size)
		if !ok {
			return
		}
		if m == nil {
			continue
		}
		var problem error
		switch {
		case !e.Mode().IsRegular():
			problem = fmt.Errorf("link, device or other special member (%s)", e.Mode())
		case e.Flags&1 != 0:
			problem = errors.New("encrypted member")
		case e.Method != zip.Store && e.Method != zip.Deflate:
			problem = fmt.Errorf("zip method %d, want 0 (stored) or 8 (deflated)", e.Method)
		}
		if problem != nil {
			l.w.refused(m.file.Name, problem)
			l.members = l.members[:len(l.members)-1]
			continue
		}
		m.file.open = func() (io.ReadCloser, error) {
			if err := h.acquire(); err != nil {
				return nil, err
			}
			rc, err := e.Open()
			if err != nil {
				h.release()
				return nil, err
			}
			return readCloser{rc, sync.OnceValue(func() error { err := rc.Close(); h.release(); return err })}, nil
		}
	}
}

// zipHandle gives the random access that a zip needs, while someone uses it:
// the file itself where it can do that, else its bytes in memory.
type zipHandle struct {
	open func() (io.ReadCloser, error)
	comp Compression

	mu   sync.Mutex // members may be read side by side
	refs int
	at   io.ReaderAt
	size int64
	rc   io.Closer
}

func (h *zipHandle) acquire() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refs > 0 {
		h.refs++
		return nil
	}
	rc, err := h.open()
	if err != nil {
		return err
	}
	if at, ok := rc.(io.ReaderAt); ok && h.comp == None {
		if size, ok := sizeOf(rc); ok {
			h.refs, h.at, h.size, h.rc = 1, at, size, rc
			return nil
		}
	}
	defer rc.Close()
	d, _, err := NewReader(rc, Limits{})
	if err != nil {
		return err
	}
	defer d.Close()
	data, err := io.ReadAll(io.LimitReader(d, maxZipMemory+1))
	if err != nil {
		return err
	}
	if len(data) > maxZipMemory {
		return fmt.Errorf("zip of more than %d bytes inside an archive or compression: unpack it first", maxZipMemory)
	}
	h.refs, h.at, h.size, h.rc = 1, bytes.NewReader(data), int64(len(data)), nil
	return nil
}

func sizeOf(rc io.ReadCloser) (int64, bool) {
	switch f := rc.(type) {
	case fs.File:
		info, err := f.Stat()
		if err != nil {
			return 0, false
		}
		return info.Size(), true
	case *memory:
		return f.Size(), true
	}
	return 0, false
}

func (h *zipHandle) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refs--; h.refs > 0 {
		return
	}
	if h.rc != nil {
		h.rc.Close()
	}
	h.at, h.rc = nil, nil
}

func (h *zipHandle) ReadAt(p []byte, off int64) (int, error) {
	h.mu.Lock()
	at := h.at
	h.mu.Unlock()
	if at == nil {
		return 0, fs.ErrClosed
	}
	return at.ReadAt(p, off)
}
