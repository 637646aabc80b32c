package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/twtrace/twtrace"

// rooms says which packages of this module each package may import (tests
// aside). A package without a rule fails: decide where it stands first. The
// direction is wire <- formats <- decode <- sessions <- rates <- table <-
// report <- cmd; formats never import each other.
var rooms = map[string][]string{
	"internal/wire":       {},
	"internal/packed":     {},
	"decode/container":    {"internal/wire", "decode/pcap"},
	"decode/pcap":         {"internal/wire"},
	"decode/link":         {"internal/wire"},
	"decode/tcp":          {"internal/wire"},
	"decode/sip":          {"internal/wire"},
	"decode/sdp":          {"internal/wire"},
	"decode/rtp":          {"internal/wire"},
	"decode/rtcp":         {"internal/wire"},
	"decode/stun":         {"internal/wire"},
	"decode/dns":          {"internal/wire"},
	"decode/http":         {"internal/wire"},
	"decode/tls":          {"internal/wire"},
	"decode/twilio":       {"internal/wire"},
	"decode/keylog":       {"internal/wire"},
	"decode/dtls":         {"internal/wire"},
	"decode/srtp":         {"internal/wire"},
	"decode/ws":           {"internal/wire"},
	"decode/http2":        {"internal/wire"},
	"decode/pstream":      {"internal/wire"},
	"decode/mediastream":  {"internal/wire"},
	"decode":              {"internal/wire", "decode/*"},
	"sessions":            {"internal/packed", "decode", "decode/*"},
	"rates":               {"decode", "sessions"},
	"internal/table":      {"internal/packed", "decode", "sessions", "rates"},
	"internal/captest":    {"decode/pcap", "decode/link", "decode/tcp", "internal/wire"},
	"internal/scrub":      {"decode/*"},
	"internal/experiment": {"internal/scrub", "decode", "decode/container", "decode/pcap", "decode/link", "decode/dns", "sessions", "rates", "internal/table"},
	"report":              {"decode", "sessions", "rates", "internal/table"},
	"fixtures":            {"decode/pcap"},
	"cmd/twtrace":         {"decode", "decode/container", "internal/experiment", "internal/table", "report", "fixtures"},
}

// onlyIn names the one package that may import a third-party module.
var onlyIn = map[string]string{
	"github.com/apache/arrow/go/v17":      "internal/table",
	"github.com/go-echarts/go-echarts/v2": "report",
	"github.com/google/gopacket":          "decode/link",
	"github.com/spf13/cobra":              "cmd/twtrace",
	"github.com/goccy/go-yaml":            "internal/experiment",
}

// noProcess are packages that only the command may import: nothing else
// touches the process, its flags, its log or the disk.
var noProcess = []string{"os", "flag", "log", "os/exec", "net", "net/http"}

// runs are the files of the command that run another program, and which.
var runs = map[string]string{"verify.go": "tshark", "pager.go": "the user's pager"}

func TestImportGraph(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if n := e.Name(); n == "testdata" || n != ".." && strings.HasPrefix(n, ".") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		checkFile(t, filepath.ToSlash(rel), path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkFile(t *testing.T, pkg, path string) {
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	if f.Name.Name == "main" && pkg != "cmd/twtrace" {
		return // a tool beside the packages, run by hand
	}
	allowed, ok := rooms[pkg]
	if !ok {
		t.Errorf("%s: no rule for package %s", path, pkg)
		return
	}
	for _, imp := range f.Imports {
		name, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if own, found := strings.CutPrefix(name, module+"/"); found && !matches(own, allowed) {
			t.Errorf("%s imports %s: %s may import only %v", path, own, pkg, allowed)
		}
		for third, room := range onlyIn {
			if (name == third || strings.HasPrefix(name, third+"/")) && pkg != room {
				t.Errorf("%s imports %s: only %s may", path, name, room)
			}
		}
		for _, p := range noProcess {
			if name == "net" && pkg == "fixtures" {
				continue // an in-memory pipe, for the load that measures decryption
			}
			if name == p && pkg != "cmd/twtrace" {
				t.Errorf("%s imports %s: only the command may", path, name)
			}
			if name == p && p == "os/exec" && runs[filepath.Base(path)] == "" {
				t.Errorf("%s imports %s: only %v may", path, name, runs)
			}
		}
	}
}

func matches(name string, allowed []string) bool {
	for _, a := range allowed {
		if name == a || strings.HasSuffix(a, "/*") && strings.HasPrefix(name, strings.TrimSuffix(a, "*")) && strings.Count(name, "/") == 1 {
			return true
		}
	}
	return false
}
