package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/twtrace/twtrace/internal/experiment"
	"github.com/twtrace/twtrace/internal/table"
)

// store is the dataset of a batch: it grows by whole experiments. Each has its
// own files below tables/ and a record in recordDir, which is written last and
// taken away first: an experiment without one is done again. So whatever
// instant a run dies at, every file is whole, and the next run knows what of
// the dataset stands.
type store struct {
	*output
	shard shard
	key   []byte // of redaction, nil without
	begun func() error
	step  func() // comes before every change of the folder; tests end the process there
}

// recordDir is hidden so that a walk over an input folder passes it over.
const recordDir = ".twtrace"

// record is what is known of an experiment that was done.
type record struct {
	experiment.Entry
	StartedAt     string           `json:"started_at,omitempty"` // RFC 3339
	SchemaVersion int              `json:"schema_version"`
	InputsKey     string           `json:"inputs_key"` // "" when the inputs could not be read whole: never equal
	OptionsKey    string           `json:"options_key"`
	RedactionKey  string           `json:"redaction_key,omitempty"` // stands for the key of the pseudonyms
	File          string           `json:"file"`                    // stem of its files in tables/
	Tables        map[string]int64 `json:"tables"`                  // bytes of each
}

// shard is a part of the experiments; the zero value is all of them.
type shard struct{ k, n uint64 }

func (s shard) String() string { return fmt.Sprintf("%d-of-%d", s.k, s.n) }

// holds tells by an experiment's id whether it belongs to the shard.
func (s shard) holds(id string) bool {
	if s.n == 0 {
		return true
	}
	b, err := hex.DecodeString(id)
	return err == nil && len(b) == idBytes && binary.BigEndian.Uint64(b)%s.n == s.k
}

const idBytes = 16

// openStore takes the folder as openOutput does. Nothing is changed in it
// before the first experiment is done.
func (a *app) openStore(dir string, sh shard, key []byte) (*store, error) {
	tag := "all."
	if sh.n > 0 {
		tag = sh.String() + "."
	}
	out, err := a.openStaged(dir, tag)
	if err != nil {
		return nil, err
	}
	s := &store{output: out, shard: sh, key: key, step: a.step}
	if s.step == nil {
		s.step = func() {}
	}
	s.begun = sync.OnceValue(s.begin)
	return s, s.sweepStages(tag)
}

// sweepStages removes what runs that died left: those of this shard, or all
// when this run is for the whole.
func (s *store) sweepStages(tag string) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		full := filepath.Join(s.dir, e.Name())
		dead := isStage(e) && (s.shard.n == 0 || strings.HasPrefix(e.Name(), stagePrefix+tag)) ||
			s.shard.n == 0 && strings.HasPrefix(e.Name(), "."+reportName+".")
		if dead && full != s.stage {
			s.step()
			if err := os.RemoveAll(full); err != nil {
				return err
			}
		}
	}
	return nil
}

// id names an experiment's record. With redaction it does not tell the name.
func (s *store) id(name string) string {
	if s.key == nil {
		sum := sha256.Sum256([]byte(name))
		return hex.EncodeToString(sum[:idBytes])
	}
	return mac(s.key, "name", name)[:2*idBytes]
}

func mac(key []byte, what, text string) string {
	h := hmac.New(sha256.New, key)
	fmt.Fprintf(h, "twtrace batch %s\n%s", what, text)
	return hex.EncodeToString(h.Sum(nil))
}

// optionsKey stands for the options and the key of the pseudonyms.
func (s *store) optionsKey(o experiment.Options) string {
	if s.key == nil {
		return o.Key()
	}
	return mac(s.key, "options", o.Key())
}

// redactionKey tells datasets of different pseudonyms apart.
func (s *store) redactionKey() string {
	if s.key == nil {
		return ""
	}
	return mac(s.key, "key", "")[:16]
}

func (s *store) recordName(id string) string { return filepath.Join(s.dir, recordDir, id+".json") }

// load reads the record of an experiment; nil when there is none that can be
// read.
func (s *store) load(id string) *record {
	b, err := os.ReadFile(s.recordName(id))
	if err != nil {
		return nil
	}
	r := &record{}
	if json.Unmarshal(b, r) != nil || r.File == "" || strings.ContainsAny(r.File, `/\`) {
		return nil
	}
	return r
}

// change says why an experiment that has a record must be done again; "" when
// it need not be. What is cheap to find out comes first.
func (s *store) change(ctx context.Context, r *record, e experiment.Experiment, o experiment.Options) (string, error) {
	switch {
	case r.AnalysisVersion != experiment.AnalysisVersion:
		return fmt.Sprintf("analysis version %d, now %d", r.AnalysisVersion, experiment.AnalysisVersion), nil
	case r.SchemaVersion != table.SchemaVersion:
		return fmt.Sprintf("schema version %d, now %d", r.SchemaVersion, table.SchemaVersion), nil
	case r.OptionsKey != s.optionsKey(o):
		return "other options", nil
	}
	for _, t := range table.Schemas() {
		want, has := r.Tables[t.Name]
		info, err := os.Stat(s.tableFile(t.Name, r.File))
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return "", err
		case has != (err == nil):
			return "table " + t.Name + " is not as it was written", nil
		case has && info.Size() != want:
			return "table " + t.Name + " is not as it was written", nil
		}
	}
	if r.InputsKey == "" {
		return "an input could not be read whole", nil
	}
	sums, err := e.Sums(ctx)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return err.Error(), nil // the analysis will tell
	}
	if e.InputsKey(sums) == r.InputsKey {
		return "", nil
	}
	return r.difference(sums), nil
}

// difference names an input that differs.
func (r *record) difference(sums []experiment.Sum) string {
	before := map[string]string{}
	for _, in := range r.Inputs {
		before[in.File] = in.SHA256
	}
	if r.RedactionKey == "" {
		for _, now := range sums {
			switch was, ok := before[now.File]; {
			case !ok:
				return now.File + " is new"
			case was != now.SHA256:
				return now.File + " changed"
			}
			delete(before, now.File)
		}
		for _, in := range r.Inputs {
			if _, gone := before[in.File]; gone {
				return in.File + " is gone"
			}
		}
	}
	return "an input changed"
}

func (s *store) tableFile(table, stem string) string {
	return filepath.Join(s.dir, "tables", table, stem+".parquet")
}

// staged are the files of one experiment, written aside.
type staged struct {
	id, dir string
	rec     record
}

// put writes an experiment's tables and its record aside, each synced to disk
// once. Experiments can be put side by side.
func (s *store) put(e experiment.Experiment, o experiment.Options, res *experiment.Result) (*staged, error) {
	row := &res.Data.Experiments[0]
	g := &staged{id: s.id(e.Name)}
	g.dir = filepath.Join(s.stage, g.id)
	g.rec = record{Entry: experiment.NewEntry(res.Data, row), SchemaVersion: table.SchemaVersion, OptionsKey: s.optionsKey(o),
		RedactionKey: s.redactionKey(), File: table.FileName(row.Experiment), Tables: map[string]int64{}}
	if row.StartedAt != 0 {
		g.rec.StartedAt = row.StartedAt.String()
	}
	if res.Sums != nil && res.Exit != experiment.ExitInternal {
		g.rec.InputsKey = e.InputsKey(res.Sums)
	}
	var written []*unsynced
	add := func(name string) (*unsynced, error) {
		s.step()
		f, err := os.Create(filepath.Join(g.dir, name))
		if err != nil {
			return nil, err
		}
		u := &unsynced{f: f}
		written = append(written, u)
		return u, nil
	}
	create := func(name string) (io.WriteCloser, error) {
		dir, base, _ := strings.Cut(strings.TrimPrefix(name, "tables/"), "/")
		if base == schemaFile {
			return nil, nil
		}
		u, err := add(dir + ".parquet")
		if err != nil {
			return nil, err
		}
		u.table = dir
		return u, nil
	}
	err := os.MkdirAll(g.dir, 0o755)
	if err == nil {
		_, err = table.WriteDir(create, res.Data, false, 1)
	}
	for _, u := range written {
		g.rec.Tables[u.table] = u.n
	}
	if err == nil {
		err = g.writeRecord(add)
	}
	return g, errors.Join(err, syncAll(written))
}

func (g *staged) writeRecord(add func(name string) (*unsynced, error)) error {
	f, err := add("record.json")
	if err != nil {
		return err
	}
	enc := json.NewEncoder(f)
	enc.SetIndent("", "  ")
	return enc.Encode(g.rec)
}

// unsynced is a file that was written and stays open for syncAll.
type unsynced struct {
	f     *os.File
	n     int64
	table string // that is in it
}

func (u *unsynced) Write(p []byte) (int, error) {
	n, err := u.f.Write(p)
	u.n += int64(n)
	return n, err
}

func (u *unsynced) Close() error { return nil }

// syncAll brings files to disk and closes them: all at once, as a file system
// with a journal takes little longer for many than for one.
func syncAll(files []*unsynced) error {
	var g errgroup.Group
	for _, u := range files {
		g.Go(func() error { return errors.Join(u.f.Sync(), u.f.Close()) })
	}
	return g.Wait()
}

const schemaFile = "0-schema.parquet"

// begin makes the folder a dataset: its first change.
func (s *store) begin() error {
	if err := s.mkdirAll(filepath.Join(s.dir, recordDir)); err != nil {
		return err
	}
	// These hold the whole and are made at the end.
	s.step()
	if err := os.RemoveAll(filepath.Join(s.dir, "arrow")); err != nil {
		return err
	}
	for _, t := range table.Schemas() {
		if err := s.mkdirAll(filepath.Join(s.dir, "tables", t.Name)); err != nil {
			return err
		}
	}
	// Without a list the folder would not be known for a dataset by a run over a
	// root that it lies in. The list of the whole ends with the work of a shard.
	name := s.listName()
	if _, err := os.Stat(filepath.Join(s.dir, name)); errors.Is(err, fs.ErrNotExist) {
		if err := s.writeList(name, nil); err != nil {
			return err
		}
	}
	if s.shard.n > 0 {
		if err := s.removeFile(filepath.Join(s.dir, batchName)); err != nil {
			return err
		}
	}
	s.made = "" // it stays, whatever comes
	if _, err := table.WriteDir(s.create, &table.Dataset{}, false, 1); err != nil {
		return err
	}
	for _, t := range table.Schemas() {
		name := filepath.Join("tables", t.Name, schemaFile)
		if err := s.rename(filepath.Join(s.stage, name), filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// commit moves an experiment's files into place. Experiments can be committed
// side by side.
func (s *store) commit(g *staged) error {
	if err := s.begun(); err != nil {
		return err
	}
	if old := s.load(g.id); old != nil && old.File != g.rec.File {
		if err := s.remove(g.id, old.File); err != nil {
			return err
		}
	}
	if err := s.removeFile(s.recordName(g.id)); err != nil {
		return err
	}
	for _, t := range table.Schemas() {
		to := s.tableFile(t.Name, g.rec.File)
		if _, has := g.rec.Tables[t.Name]; !has {
			if err := s.removeFile(to); err != nil {
				return err
			}
			continue
		}
		if err := s.rename(filepath.Join(g.dir, t.Name+".parquet"), to); err != nil {
			return err
		}
	}
	if err := s.rename(filepath.Join(g.dir, "record.json"), s.recordName(g.id)); err != nil {
		return err
	}
	s.step()
	return os.RemoveAll(g.dir)
}

// remove takes an experiment out of the dataset.
func (s *store) remove(id, stem string) error {
	if err := s.removeFile(s.recordName(id)); err != nil {
		return err
	}
	for _, t := range table.Schemas() {
		if err := s.removeFile(s.tableFile(t.Name, stem)); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) removeFile(name string) error {
	s.step()
	err := os.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (s *store) rename(from, to string) error {
	s.step()
	return os.Rename(from, to)
}

func (s *store) mkdirAll(name string) error {
	s.step()
	return os.MkdirAll(name, 0o755)
}

// ids are the experiments of this shard that have a record, in any order.
func (s *store) ids() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, recordDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".json"); ok && s.shard.holds(id) {
			list = append(list, id)
		}
	}
	return list, nil
}

// vanished are experiments of the dataset that are not among those found, in
// order of name.
func (s *store) vanished(found []experiment.Experiment) ([]*record, error) {
	current := map[string]bool{}
	for _, e := range found {
		current[s.id(e.Name)] = true
	}
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	var gone []*record
	for _, id := range ids {
		if current[id] {
			continue
		}
		if r := s.load(id); r != nil {
			gone = append(gone, r)
		}
	}
	slices.SortFunc(gone, func(x, y *record) int { return strings.Compare(x.Experiment, y.Experiment) })
	return gone, nil
}

// clean leaves of the dataset the experiments that were found: what vanished
// goes, and for the whole dataset every file that belongs to none. It returns
// the names of those that went.
func (s *store) clean(found []experiment.Experiment) (gone []string, err error) {
	current, stems := map[string]bool{}, map[string]bool{}
	for _, e := range found {
		id := s.id(e.Name)
		current[id] = true
		if r := s.load(id); r != nil {
			stems[r.File] = true
		}
	}
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if current[id] {
			continue
		}
		r := s.load(id)
		switch {
		case r == nil || stems[r.File]:
			// the same experiment under other pseudonyms, or a record of an older program
			err = s.removeFile(s.recordName(id))
		case s.shard.n > 0 && r.RedactionKey != s.redactionKey():
			// which shard its files belong to cannot be told: the next whole run can
		default:
			gone = append(gone, r.Experiment)
			err = s.remove(id, r.File)
		}
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(gone)
	if s.shard.n > 0 {
		return gone, nil
	}
	for _, t := range table.Schemas() {
		dir := filepath.Join(s.dir, "tables", t.Name)
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			stem, ok := strings.CutSuffix(e.Name(), ".parquet")
			if ok && e.Name() != schemaFile && !stems[stem] {
				if err := s.removeFile(filepath.Join(dir, e.Name())); err != nil {
					return nil, err
				}
			}
		}
	}
	return gone, nil
}

// writeBatch folds the records into batch.json, or for a shard into its own
// file, and returns their number. Only their names are held in memory.
func (s *store) writeBatch() (int, error) {
	ids, err := s.ids()
	if err != nil {
		return 0, err
	}
	list := make([]listed, 0, len(ids))
	for _, id := range ids {
		if r := s.load(id); r != nil {
			list = append(list, listed{r.Experiment, id})
		}
	}
	slices.SortFunc(list, func(x, y listed) int {
		if c := strings.Compare(x.name, y.name); c != 0 {
			return c
		}
		return strings.Compare(x.id, y.id)
	})
	return len(list), s.writeList(s.listName(), list)
}

// listed is an experiment of a list.
type listed struct{ name, id string }

func (s *store) listName() string {
	if s.shard.n > 0 {
		return shardName(s.shard)
	}
	return batchName
}

// writeList writes a list of experiments; nil is that of work not yet done.
func (s *store) writeList(name string, list []listed) error {
	f, err := os.Create(filepath.Join(s.stage, name))
	if err != nil {
		return err
	}
	var entries iter.Seq[experiment.Entry]
	if list != nil {
		entries = func(yield func(experiment.Entry) bool) {
			for _, x := range list {
				if r := s.load(x.id); r != nil && !yield(r.Entry) {
					return
				}
			}
		}
	}
	if err := errors.Join(experiment.WriteList(f, entries), f.Sync(), f.Close()); err != nil {
		return err
	}
	return s.rename(filepath.Join(s.stage, name), filepath.Join(s.dir, name))
}

func shardName(s shard) string { return "batch." + s.String() + ".json" }

// shardFiles are the files that shards left in a dataset.
func shardFiles(dir string) ([]shard, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []shard
	for _, e := range entries {
		var s shard
		if n, _ := fmt.Sscanf(e.Name(), "batch.%d-of-%d.json", &s.k, &s.n); n == 2 && s.k < s.n && e.Name() == shardName(s) {
			list = append(list, s)
		}
	}
	return list, nil
}

// sayMissingShards warns of a dataset that some shards have not come to.
func (a *app) sayMissingShards(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, batchName)); err == nil {
		return nil // of the whole
	}
	list, err := shardFiles(dir)
	if err != nil {
		return err
	}
	done := map[uint64]uint64{}
	for _, s := range list {
		b, err := os.ReadFile(filepath.Join(dir, shardName(s)))
		if err != nil {
			return err
		}
		var f experiment.List
		if json.Unmarshal(b, &f) == nil && f.Experiments != nil {
			done[s.n]++
		}
	}
	for _, s := range list {
		if got := done[s.n]; got < s.n {
			a.say(levelWarn, "%s: %d of %d shards are done; the report is of these", dir, got, s.n)
			done[s.n] = s.n // told once
		}
	}
	return nil
}

// finish makes what holds the whole: report, Arrow files, batch.json. It
// returns the number of experiments.
func (s *store) finish(a *app) (int, error) {
	if err := s.begun(); err != nil {
		return 0, err
	}
	d, err := s.readBack(s.dir)
	if err != nil {
		return 0, err
	}
	if s.arrow {
		for _, t := range table.Schemas() {
			if err := s.writeArrow(t.Name, d); err != nil {
				return 0, err
			}
		}
	}
	if err := a.writeReport(filepath.Join(s.stage, reportName), d); err != nil {
		return 0, err
	}
	if err := a.ctx.Err(); err != nil {
		return 0, err
	}
	for _, p := range []string{"arrow", reportName} {
		err := s.rename(filepath.Join(s.stage, p), filepath.Join(s.dir, p))
		if err != nil && !(p == "arrow" && !s.arrow && errors.Is(err, fs.ErrNotExist)) {
			return 0, err
		}
	}
	if _, err := s.writeBatch(); err != nil {
		return 0, err
	}
	return len(d.Experiments), s.dropShards()
}

// finishShard makes the list of the shard's experiments, and returns their
// number.
func (s *store) finishShard() (int, error) {
	if err := s.begun(); err != nil {
		return 0, err
	}
	return s.writeBatch()
}

// dropShards removes the lists of shards once batch.json holds them all.
func (s *store) dropShards() error {
	list, err := shardFiles(s.dir)
	if err != nil {
		return err
	}
	for _, x := range list {
		if err := s.removeFile(filepath.Join(s.dir, shardName(x))); err != nil {
			return err
		}
	}
	return nil
}
