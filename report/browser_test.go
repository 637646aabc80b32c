package report

import (
	"bytes"
	csvpkg "encoding/csv"
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/internal/table"
)

// whenReady opens every call and waits for what is compressed in the page. The
// browser's virtual time runs ahead of the thread that inflates: so each look
// takes a while of real time too, and the last one of 4000 is taken as it is.
const whenReady = `function whenReady(f){
var q=function(s){return document.querySelectorAll(s)},n=0,wide=innerWidth>860;
q('details.call').forEach(function(d){d.open=true});
if(document.documentElement.className!=='js')return f();
(function look(){
 var charts=Array.prototype.filter.call(q('.chart canvas'),function(e){return e.getBoundingClientRect().height>0}).length;
 var empty=Array.prototype.filter.call(q('details.call'),function(d){return !d.querySelector('.ladder')}).length;
 if(n++<4000&&(empty||wide&&charts<q('script.opt').length)){for(var i=0,x=0;i<1e6;i++)x+=i;setTimeout(look,2,x)}else f();
})();
}
`

// probe runs last in the page and writes what it finds where --dump-dom shows it.
const probe = whenReady + `(function(){
whenReady(function(){
var r=document.documentElement,q=function(s){return document.querySelectorAll(s)};
function seen(e){return e.getBoundingClientRect().height>0}
r.setAttribute('data-pwned',typeof window.pwned);
r.setAttribute('data-sections',Array.prototype.filter.call(q('section'),seen).length+' of '+q('section').length);
r.setAttribute('data-charts',Array.prototype.filter.call(q('.chart canvas'),seen).length+' of '+q('script.opt').length);
r.setAttribute('data-drawings',Array.prototype.filter.call(q('figure .plot'),seen).length+' of '+q('figure .plot').length);
r.setAttribute('data-sideways',String(r.scrollWidth>r.clientWidth));
r.setAttribute('data-panels',q('.ladder').length+' '+q('.det.show').length);
r.setAttribute('data-calls',Array.prototype.filter.call(q('details.call'),function(d){return d.querySelector('.ladder .plot, .ladder svg')}).length+' of '+q('details.call').length);
document.title='done';
});
})();`

func browser(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short")
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			return p
		}
	}
	t.Skip("no browser")
	return ""
}

// look opens a page and returns its DOM after the scripts, and what the console said.
func look(t *testing.T, exe, page string, width int, flags ...string) (dom, console string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "report.html")
	if err := os.WriteFile(file, []byte(page), 0o666); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir=" + filepath.Join(dir, "profile"), fmt.Sprintf("--window-size=%d,1000", width), "--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom"}, flags...)
	cmd := exec.Command(exe, append(args, "file://"+file)...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Skipf("the browser does not run: %v", err)
	}
	for _, line := range strings.Split(log.String(), "\n") {
		if strings.Contains(line, "CONSOLE") {
			console += line + "\n"
		}
	}
	return out.String(), console
}

func TestBrowser(t *testing.T) {
	exe := browser(t)
	for _, c := range []struct {
		name  string
		d     *table.Dataset
		csp   bool
		width int
	}{
		{"hostile", hostile(), true, 1200},
		{"hostile without policy", hostile(), false, 1200},
		{"hostile on a phone", hostile(), true, 390},
		{"sip", sipTrace(), true, 1200},
		{"sip on a phone", sipTrace(), true, 390},
		{"study", study(), true, 1000},
		{"repeats on a phone", repeats(), true, 390},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := Write(&b, c.d, Options{Title: attack}); err != nil {
				t.Fatal(err)
			}
			page := b.String()
			if c.csp {
				page = strings.Replace(page, "script-src ", "script-src "+hash(probe)+" ", 1)
			} else {
				page = regexp.MustCompile(`<meta http-equiv="Content-Security-Policy"[^>]*>`).ReplaceAllString(page, "")
			}
			page = strings.Replace(page, "</body></html>", "<script>"+probe+"</script></body></html>", 1)
			dom, console := look(t, exe, page, c.width)
			if !strings.Contains(dom, "data-pwned=") {
				t.Fatalf("the probe did not run; console: %s", console)
			}
			if console != "" {
				t.Errorf("console: %s", console)
			}
			get := func(name string) string {
				m := regexp.MustCompile(` data-` + name + `="([^"]*)"`).FindStringSubmatch(dom)
				if m == nil {
					return "absent"
				}
				return m[1]
			}
			if got := get("pwned"); got != "undefined" {
				t.Errorf("a text of the capture ran as script: %s", got)
			}
			same := func(what string) {
				var a, b int
				if _, err := fmt.Sscanf(get(what), "%d of %d", &a, &b); err != nil || a != b || b == 0 {
					t.Errorf("%s visible: %s", what, get(what))
				}
			}
			same("sections")
			if !strings.Contains(c.name, "study") && !strings.Contains(c.name, "repeats") {
				same("calls")
			}
			same("drawings")
			if c.width > 860 {
				same("charts")
			}
			if get("sideways") != "false" {
				t.Error("the page scrolls sideways")
			}
			var ladders, panels int
			if fmt.Sscanf(get("panels"), "%d %d", &ladders, &panels); ladders != panels {
				t.Errorf("%d ladders, %d panels shown", ladders, panels)
			}
		})
	}
}

// Without script the page is whole: nothing is drawn by script alone.
func TestBrowserWithoutScript(t *testing.T) {
	exe := browser(t)
	var b bytes.Buffer
	if err := Write(&b, sipTrace(), Options{}); err != nil {
		t.Fatal(err)
	}
	page := regexp.MustCompile(`(?s)<script>.*?</script>`).ReplaceAllString(b.String(), "")
	if n := strings.Count(page, "<details class=\"call\""); n < 2 || strings.Count(page, "twtrace flow --call") != n-1 {
		t.Errorf("%d calls; without script every one but the first should say how to see it", n)
	}
	page = strings.Replace(page, "script-src ", "script-src "+hash(probe)+" ", 1)
	page = strings.Replace(page, "</body></html>", "<script>"+probe+"</script></body></html>", 1)
	dom, console := look(t, exe, page, 1200)
	if console != "" {
		t.Errorf("console: %s", console)
	}
	for _, want := range []string{`data-charts="0 of 1"`, `data-sideways="false"`} {
		if !strings.Contains(dom, want) {
			t.Errorf("no %s", want)
		}
	}
	m := regexp.MustCompile(`data-drawings="(\d+) of (\d+)"`).FindStringSubmatch(dom)
	if m == nil || m[1] != m[2] || m[1] == "0" {
		t.Errorf("drawings seen without script: %v", m)
	}
}

// Paper has no clicks: the reasons stand open there, with script and without.
func TestPrint(t *testing.T) {
	exe := browser(t)
	pdftotext, err := exec.LookPath("pdftotext")
	if err != nil {
		t.Skip("no pdftotext")
	}
	var b bytes.Buffer
	if err := Write(&b, repeats(), Options{}); err != nil {
		t.Fatal(err)
	}
	for name, page := range map[string]string{"script": b.String(), "no script": regexp.MustCompile(`(?s)<script>.*?</script>`).ReplaceAllString(b.String(), "")} {
		t.Run(name, func(t *testing.T) {
			pdf := filepath.Join(t.TempDir(), "report.pdf")
			look(t, exe, page, 1200, "--print-to-pdf="+pdf)
			out, err := exec.Command(pdftotext, "-layout", pdf, "-").Output()
			if err != nil {
				t.Skipf("no PDF: %v", err)
			}
			text := strings.Join(strings.Fields(string(out)), " ")
			for _, want := range []string{"calls-n200-r2 0.940/s [0.939, 0.945], below.", "Verdict", "Observed"} {
				if !strings.Contains(text, want) {
					t.Errorf("paper lacks %q", want)
				}
			}
		})
	}
}

// What a figure is saved as: a drawing that stands alone, an image, and the
// numbers that it shows. The page's own downloads are caught before they begin.
func TestFiguresAreSaved(t *testing.T) {
	exe := browser(t)
	var b bytes.Buffer
	if err := Write(&b, repeats(), Options{}); err != nil {
		t.Fatal(err)
	}
	const click = whenReady + `whenReady(function(){
var out=[],parts={},made=Blob;
window.Blob=function(p,o){var b=new made(p,o);b.text1=p[0];return b};
URL.createObjectURL=function(b){var u='blob:'+Object.keys(parts).length;parts[u]=b.text1;return u};
URL.revokeObjectURL=function(){};
HTMLAnchorElement.prototype.click=function(){
 out.push(this.download+'|'+(this.href.indexOf('data:')===0?this.href.slice(0,22)+this.href.length:parts[this.href]));
};
document.querySelector('#fig1').querySelectorAll('.save button').forEach(function(x){x.click()});
var p=document.createElement('pre');p.id='saved';p.textContent=out.join('\u241e');document.body.appendChild(p);
});`
	page := strings.Replace(b.String(), "script-src ", "script-src "+hash(click)+" ", 1)
	page = strings.Replace(page, "</body></html>", "<script>"+click+"</script></body></html>", 1)
	dom, console := look(t, exe, page, 1200)
	if console != "" {
		t.Errorf("console: %s", console)
	}
	m := regexp.MustCompile(`(?s)<pre id="saved">(.*?)</pre>`).FindStringSubmatch(dom)
	if m == nil {
		t.Fatal("nothing was saved")
	}
	files := strings.Split(html.UnescapeString(m[1]), "\u241e")
	if len(files) != 3 {
		t.Fatalf("%d files: %.200q", len(files), files)
	}
	svg, png, csv := files[0], files[1], files[2]
	if !strings.HasPrefix(svg, "fig1.svg|<svg ") || strings.Contains(svg, "class=") || strings.Contains(svg, "href") || !strings.Contains(svg, "rgb(27, 90, 152)") {
		t.Errorf("the drawing needs the page, or lacks its colours: %.300s", svg)
	}
	dec := xml.NewDecoder(strings.NewReader(strings.TrimPrefix(svg, "fig1.svg|")))
	for {
		if _, err := dec.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("the drawing is no XML: %v", err)
		}
	}
	var size int
	if n, _ := fmt.Sscanf(png, "fig1.png|data:image/png;base64,%d", &size); n != 1 || size < 10_000 {
		t.Errorf("the image: %.100s", png)
	}
	rows, err := csvpkg.NewReader(strings.NewReader(strings.TrimPrefix(csv, "fig1.csv|"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	// Each run of the data stands in it with its rate and interval.
	for _, r := range repeats().Rates {
		found := slices.ContainsFunc(rows, func(row []string) bool {
			return row[1] == "observed" && row[2] == fmt.Sprint(r.X.V) && row[3] == fmt.Sprint(r.ObservedPerS.V) && row[4] == fmt.Sprint(r.ObservedLowPerS.V) && row[5] == fmt.Sprint(r.ObservedHighPerS.V)
		})
		if r.Kind == "calls" && r.ObservedPerS.Known && !found {
			t.Errorf("%s, %v/s, does not stand in the numbers", r.Experiment, r.ObservedPerS.V)
		}
	}
}

// axe-core, where the environment says where it is, finds nothing serious, in
// light and in dark, wide and narrow.
func TestAccessible(t *testing.T) {
	exe := browser(t)
	name := os.Getenv("TWTRACE_AXE")
	if name == "" {
		t.Skip("TWTRACE_AXE names no axe.min.js")
	}
	axe, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	run := string(axe) + ";" + whenReady + `whenReady(function(){
document.querySelectorAll('details').forEach(function(d){d.open=true});
axe.run(document,{resultTypes:['violations']}).then(function(r){
var p=document.createElement('pre');p.id='axe';
p.textContent='done '+r.passes.length+'\n'+r.violations.map(function(v){return v.impact+' '+v.id+': '+v.help+' ('+v.nodes.length+'): '+v.nodes.slice(0,3).map(function(n){return n.html.slice(0,200)+' '+n.failureSummary}).join(' | ')}).join('\n');
document.body.appendChild(p)})});`
	for _, c := range []struct {
		name  string
		d     *table.Dataset
		width int
		flags []string
	}{
		{"sip", sipTrace(), 1200, nil},
		{"sip, dark", sipTrace(), 1200, []string{"--blink-settings=preferredColorScheme=0"}},
		{"repeats on a phone", repeats(), 390, nil},
		{"hostile", hostile(), 1200, nil},
	} {
		var b bytes.Buffer
		if err := Write(&b, c.d, Options{Title: "A report"}); err != nil {
			t.Fatal(err)
		}
		page := strings.Replace(b.String(), "script-src ", "script-src "+hash(run)+" ", 1)
		page = strings.Replace(page, "</body></html>", "<script>"+run+"</script></body></html>", 1)
		dom, console := look(t, exe, page, c.width, append(c.flags, "--virtual-time-budget=30000")...)
		m := regexp.MustCompile(`(?s)<pre id="axe">(.*?)</pre>`).FindStringSubmatch(dom)
		if m == nil || !strings.HasPrefix(m[1], "done ") {
			t.Fatalf("%s: axe did not end; console: %s", c.name, console)
		}
		for _, v := range strings.Split(html.UnescapeString(m[1]), "\n")[1:] {
			if strings.HasPrefix(v, "serious") || strings.HasPrefix(v, "critical") {
				t.Errorf("%s: %s", c.name, v)
			} else if v != "" {
				t.Logf("%s: %.300s", c.name, v)
			}
		}
	}
}
