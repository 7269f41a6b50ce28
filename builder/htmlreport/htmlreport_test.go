// SPDX-License-Identifier: Apache-2.0

package htmlreport

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/vmdebootstrap/vmdebootstrap/builder/difference"
	"github.com/vmdebootstrap/vmdebootstrap/builder/inspect"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// hostile is the name of a package, a file, a unit… It breaks out of text, attributes, scripts and comments, if they
// let it, and turns the text around.
const hostile = "</script></title></style>--><img src=x onerror=alert(1)>\"'`&amp;\u202egpj.\x1b[31m\xff"

// newReport returns a report in which every name is hostile and no part is left out.
func newReport() Report {
	filesystem := func(size, free uint64) *inspect.Filesystem {
		return &inspect.Filesystem{Type: "ext4" + hostile, Label: hostile, MountPoint: "/" + hostile, Size: size, Free: free}
	}
	r := Report{
		Schema: Schema, Program: "vmdebootstrap 1.12.0", Image: inspect.Report{Schema: inspect.Schema,
			Source: "out/debian.img",
			Disk: &inspect.Disk{Format: "raw", Size: 1000 << 20, Table: "gpt", Partitions: []inspect.Partition{
				{Number: 1, Type: "esp", Start: 1 << 20, Size: 100 << 20, Filesystem: filesystem(100<<20, 90<<20)},
				{Number: 2, Type: hostile, Start: 101 << 20, Size: 799 << 20, Filesystem: filesystem(700<<20, 200<<20)},
			}},
			System: &inspect.System{
				Release: inspect.Release{Name: hostile}, Hostname: hostile, Services: []string{hostile},
				Kernels: []inspect.Kernel{{Version: hostile}}, Users: []inspect.User{{Name: hostile, Keys: 1}},
				Loaders: []inspect.Loader{{Name: hostile, File: hostile}},
				Packages: []inspect.Package{{Name: hostile, Version: hostile, Architecture: hostile, Section: hostile, Size: 5e6},
					{Name: "bash", Version: "5", Section: "shells", Size: 4e6},
					{Name: "zsh", Version: "5", Section: "shells", Size: 1e6}},
			}},
		Directories: &Directory{Name: "/", Size: 9e6, Files: 3, Children: []Directory{
			{Name: hostile, Size: 6e6, Children: []Directory{{Name: "a", Size: 4e6}, {Name: "b", Size: 2e6}}},
			{Name: "etc", Size: 2e6}}},
		Build: &Build{
			Began: time.Date(2026, 11, 29, 16, 0, 0, 0, time.UTC),
			Steps: []progress.Step{{Title: hostile, Seconds: 2, CPUSeconds: 3}, {Title: "cached", Start: 2, Cached: true}},
			Usage: progress.Usage{Steps: 1, Cached: 1},
			Files: []progress.File{{Name: hostile, Size: 5e6, Format: hostile}},
		},
		Boots: []Boot{{Firmware: hostile, Arch: "amd64", Booted: true, Seconds: 9, Error: hostile,
			Console: hostile + "\nlogin:",
			Checks:  []Check{{Name: hostile, Error: hostile, Output: hostile}, {Name: "unit ssh", OK: true}}}},
	}
	earlier := r
	earlier.Image.Source, earlier.Boots = hostile, nil
	r.Since(earlier)
	file := difference.File{Name: "/" + hostile, Package: "x" + hostile,
		B: &difference.Metadata{Type: "link", Target: hostile}}
	r.Change.Difference.Facts = []difference.Fact{{Name: hostile, A: hostile}}
	r.Change.Difference.Packages.Added = []difference.Package{{Name: hostile, B: hostile}}
	r.Change.Difference.Files, r.Change.Difference.ConfigFiles = []difference.File{file}, []difference.File{file}
	return r
}

func write(t testing.TB, r Report) string {
	t.Helper()
	var page bytes.Buffer
	if err := r.Write(&page); err != nil {
		t.Fatal(err)
	}
	return page.String()
}

// elements calls found for each element of a page.
func elements(t testing.TB, page string, found func(e *html.Node)) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			found(n)
		}
	}
}

func attribute(e *html.Node, name string) string {
	for _, a := range e.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// Issue 18, 10: names from packages and hooks are text, whatever they are.
func TestHostileNamesAreText(t *testing.T) {
	t.Parallel()
	page := write(t, newReport())
	allowed := strings.Fields("html head meta title style body a header h1 p time nav ul li main dl div dt dd small " +
		"section h2 h3 svg g rect text line circle table thead tbody tfoot tr th td span strong details summary article " +
		"pre footer script")
	elements(t, page, func(e *html.Node) {
		if !slices.Contains(allowed, e.Data) {
			t.Errorf("a name has become the element %s", e.Data)
		}
		if e.Data == "script" && attribute(e, "type") != "application/json" {
			t.Error("the page has a script")
		}
		for _, a := range e.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "src" {
				t.Errorf("%s has the attribute %s", e.Data, a.Key)
			}
			if (a.Key == "href") && !strings.HasPrefix(a.Val, "#") {
				t.Errorf("a link to %s", a.Val)
			}
		}
	})
	before, _, _ := strings.Cut(page, string(dataBegin))
	if i := strings.IndexAny(before, "\x1b\u202e"); i >= 0 || strings.Contains(before, "\xff") {
		t.Errorf("an invisible character at %d", i)
	}
	if !strings.Contains(before, `\u202egpj`) || !strings.Contains(before, `\x1b[31m\xff`) {
		t.Error("invisible characters are not shown")
	}
}

// Nothing is loaded: neither is there anything to load, nor would the browser do so.
func TestPageForbidsScriptsAndNetwork(t *testing.T) {
	t.Parallel()
	page := write(t, newReport())
	policy := ""
	elements(t, page, func(e *html.Node) {
		if attribute(e, "http-equiv") == "Content-Security-Policy" {
			policy = attribute(e, "content")
		}
		if e.Data == "link" || e.Data == "base" || e.Data == "form" {
			t.Errorf("the page has the element %s", e.Data)
		}
	})
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'unsafe-inline';") {
		t.Errorf("got the policy %q", policy)
	}
	if regexp.MustCompile(`url\(|@import|https?://`).MatchString(page) {
		t.Error("the page names something elsewhere")
	}
}

// Each link has its target and each ID is there once, so that the keyboard and the browser's history zoom.
func TestLinksHaveTargets(t *testing.T) {
	t.Parallel()
	ids, links := map[string]int{}, []string{}
	headings, last := 0, 0
	elements(t, write(t, newReport()), func(e *html.Node) {
		if id := attribute(e, "id"); id != "" {
			ids[id]++
		}
		if label := attribute(e, "aria-labelledby"); label != "" {
			links = append(links, label)
		}
		if href := attribute(e, "href"); href != "" {
			links = append(links, strings.TrimPrefix(href, "#"))
		}
		if len(e.Data) == 2 && e.Data[0] == 'h' && e.Data[1] != 'r' {
			level := int(e.Data[1] - '0')
			if level > last+1 {
				t.Errorf("heading %s follows one of level %d", e.Data, last)
			}
			last = level
			headings++
		}
		if e.Data == "svg" && e.Parent.Data != "svg" && attribute(e, "role") == "" && attribute(e, "aria-hidden") != "true" {
			t.Error("a drawing that a screen reader knows nothing of")
		}
	})
	for id, n := range ids {
		if n != 1 {
			t.Errorf("%d elements have the ID %s", n, id)
		}
	}
	for _, to := range links {
		if ids[to] == 0 {
			t.Errorf("nothing has the ID %s", to)
		}
	}
	if len(links) < 15 || headings < 10 {
		t.Errorf("only %d links and %d headings", len(links), headings)
	}
}

func TestSameDataMakeTheSamePage(t *testing.T) {
	t.Parallel()
	if a, b := write(t, newReport()), write(t, newReport()); a != b {
		t.Error("two pages of the same data differ")
	}
}

func TestPageHoldsItsData(t *testing.T) {
	t.Parallel()
	r := newReport()
	read, err := Read(strings.NewReader(write(t, r)))
	if err != nil {
		t.Fatal(err)
	}
	// JSON has no bytes that are not UTF-8, but is the same from then on.
	again, err := Read(strings.NewReader(write(t, read)))
	if err != nil || !reflect.DeepEqual(again, read) {
		t.Errorf("got %+v, %v, want %+v", again, err, read)
	}
	if !reflect.DeepEqual(read.Build.Steps[1], r.Build.Steps[1]) || read.Boots[0].Seconds != 9 ||
		read.Image.Disk.Size != r.Image.Disk.Size || read.Change.Difference.Same != r.Change.Difference.Same {
		t.Errorf("got %+v", read)
	}

	r.Build, r.Boots, r.Change = nil, nil, nil
	for name, text := range map[string]string{
		"a page without data": write(t, r), "nothing": "", "cut": string(dataBegin) + "{",
		"no JSON":        string(dataBegin) + "{" + string(dataEnd),
		"another schema": string(dataBegin) + `{"schema":2,"image":{"schema":1}}` + string(dataEnd),
		"another image":  string(dataBegin) + `{"schema":1,"image":{"schema":2}}` + string(dataEnd),
	} {
		if got, err := Read(strings.NewReader(text)); !errors.Is(err, ErrNoData) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

func TestBootTestsOfOneFirmwareReplaceEachOther(t *testing.T) {
	t.Parallel()
	var r Report
	r.AddBoot(Boot{Firmware: "bios", Seconds: 1})
	r.AddBoot(Boot{Firmware: "uefi", Seconds: 2})
	r.AddBoot(Boot{Firmware: "bios", Seconds: 3})
	if len(r.Boots) != 2 || r.Boots[0].Seconds != 3 || r.Boots[1].Seconds != 2 {
		t.Errorf("got %+v", r.Boots)
	}
}

func TestDirectoriesAddUpFiles(t *testing.T) {
	t.Parallel()
	file := func(name string, size int) diskimage.Entry {
		return diskimage.FileEntry(name, 0o644, make([]byte, size), time.Time{})
	}
	hole := file("usr/hole", 900)
	hole.Data = []diskimage.Extent{{Offset: 0, Length: 100}}
	link := file("usr/lib/link", 400)
	link.HardLink = "usr/lib/big"
	index := diskimage.Index{}
	for _, e := range []diskimage.Entry{file("usr/lib/big", 400), link, hole, file("etc/a", 300), file("etc/empty", 0)} {
		index[e.Name] = e
	}
	want := Directory{"/", 800, 5, []Directory{
		{"usr", 500, 3, []Directory{{"lib", 400, 2, []Directory{{Name: "big", Size: 400, Files: 1}}},
			{Name: "hole", Size: 100, Files: 1}}},
		{"etc", 300, 2, []Directory{{Name: "a", Size: 300, Files: 1}}},
	}}
	if got := *NewDirectory(index); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAreasAreInProportionAndDoNotOverlap(t *testing.T) {
	t.Parallel()
	in := rectangle{10, 20, 600, 400}
	sizes := []uint64{6, 6, 4, 3, 2, 2, 1} // of the paper, whose worst ratio is far below that of slices
	placed := squarify(sizes, in)
	for i, r := range placed {
		if want := float64(sizes[i]) / 24 * in.w * in.h; math.Abs(r.w*r.h-want) > 1e-6*want {
			t.Errorf("%d: area %g, want %g", i, r.w*r.h, want)
		}
		if max(r.w/r.h, r.h/r.w) > 3 {
			t.Errorf("%d: %g by %g is no square", i, r.w, r.h)
		}
		if r.x < in.x-1e-6 || r.y < in.y-1e-6 || r.x+r.w > in.x+in.w+1e-6 || r.y+r.h > in.y+in.h+1e-6 {
			t.Errorf("%d: %+v is outside", i, r)
		}
		for j, other := range placed[:i] {
			if min(r.x+r.w, other.x+other.w)-max(r.x, other.x) > 1e-6 &&
				min(r.y+r.h, other.y+other.h)-max(r.y, other.y) > 1e-6 {
				t.Errorf("%d and %d overlap", i, j)
			}
		}
	}
	if got := squarify([]uint64{0, 0}, in); len(got) != 2 {
		t.Errorf("nothing at all: got %v", got)
	}
}

func TestDiskIsToScale(t *testing.T) {
	t.Parallel()
	r := newReport()
	d := newDiskDrawings(r.Image)[0]
	var got []string
	for _, s := range d.Segments {
		got = append(got, s.X+"+"+s.W+" "+cmp.Or(s.Used, "?"))
	}
	want := []string{"0.1+10 10", "10.1+79.9 62.58", "90+10 ?"}
	if !slices.Equal(got, want) || len(d.Rows) != 3 || d.Rows[2].Type != "in no partition" {
		t.Errorf("got %q, want %q, and the rows %+v", got, want, d.Rows)
	}
	small := inspect.Report{Disk: &inspect.Disk{Size: r.Image.Disk.Size / 4}}
	if all := newDiskDrawings(small, r.Image); all[0].Width != "25" || all[1].Width != "100" {
		t.Errorf("two disks: got %s and %s", all[0].Width, all[1].Width)
	}
}

func TestTimesAreOnOneAxis(t *testing.T) {
	t.Parallel()
	b := &Build{Steps: []progress.Step{{Title: "a", Seconds: 6, CPUSeconds: 8}, {Title: "b", Start: 6, Cached: true},
		{Title: "c", Start: 6, Seconds: 4, CPUSeconds: 1}}}
	earlier := &Build{Steps: []progress.Step{{Title: "a", Seconds: 9}, {Title: "b", Start: 9, Seconds: 1}}}
	tl := newTimeline(b, &Change{FromBuild: earlier})
	a, cached, c := tl.Rows[0], tl.Rows[1], tl.Rows[2]
	if a.W != "60" || a.CPUWidth != "80" || a.Earlier != "9.0\u00a0s" || !cached.Cached || cached.X != "60" ||
		c.X != "60" || c.W != "40" || c.Earlier != "" || tl.Total.Wall != "10.0\u00a0s" || tl.Total.CPU != "9.0\u00a0s" {
		t.Errorf("got %+v", tl)
	}
	for length, want := range map[float64]int{0.001: 2, 1: 3, 9.9: 5, 10: 3, 59: 3, 3599: 3, 1e9: 1} {
		all := ticks(length)
		if len(all) != want || all[0] != 0 || all[len(all)-1] > length {
			t.Errorf("%g s: got %v, want %d", length, all, want)
		}
	}
}

func TestNumbersHaveTheirUnits(t *testing.T) {
	t.Parallel()
	for bytes, want := range map[uint64]string{0: "0 B", 999: "999 B", 1000: "1 kB", 999_499: "999 kB", 999_500: "1.0 MB",
		99_949_999: "99.9 MB", 123_456_789: "123 MB", 2_147_483_648: "2.15 GB", 1 << 63: "9.22 EB"} {
		if got := strings.ReplaceAll(formatSize(bytes), noBreak, " "); got != want {
			t.Errorf("%d: got %q, want %q", bytes, got, want)
		}
	}
	for seconds, want := range map[float64]string{0: "0.0 s", 0.04: "0.0 s", 99.9: "99.9 s", 100: "1 min 40 s",
		3661: "1 h 1 min", -1: "0.0 s"} {
		if got := strings.ReplaceAll(formatSeconds(seconds), noBreak, " "); got != want {
			t.Errorf("%g: got %q, want %q", seconds, got, want)
		}
	}
	if got := formatCount(1234567); got != "1\u202f234\u202f567" {
		t.Errorf("got %q", got)
	}
}

// A page that somebody else has written is an error, or the data of a page that can be written again.
func FuzzRead(f *testing.F) {
	var page bytes.Buffer
	if err := newReport().Write(&page); err != nil {
		f.Fatal(err)
	}
	_, data, _ := bytes.Cut(page.Bytes(), dataBegin)
	data, _, _ = bytes.Cut(data, dataEnd)
	f.Add(data)
	f.Add([]byte(`{"schema":1,"image":{"schema":1,` +
		`"disk":{"size":1,"partitions":[{"start":18446744073709551615,"size":9}]},` +
		`"system":{"packages":[{"size":1},{"size":18446744073709551615}]}},` +
		`"build":{"steps":[{"start":-1e308,"seconds":1e308}]},` +
		`"directories":{"name":"","size":1,"children":[{"size":18446744073709551615,"children":[{},{}]}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Read(io.MultiReader(bytes.NewReader(dataBegin), bytes.NewReader(data), bytes.NewReader(dataEnd)))
		if err != nil {
			return
		}
		r.Since(r)
		page := write(t, r)
		elements(t, page, func(e *html.Node) {
			for _, name := range []string{"x", "width"} {
				if v := attribute(e, name); strings.Contains(v, "NaN") || strings.Contains(v, "Inf") {
					t.Errorf("%s=%q", name, v)
				}
			}
		})
	})
}

// The drawings are well-formed, also where a browser would mend them.
func TestDrawingsAreXML(t *testing.T) {
	t.Parallel()
	drawings := regexp.MustCompile(`(?s)<svg class="tiles".*?\n</svg>\n</div>`).FindAllString(write(t, newReport()), -1)
	if len(drawings) < 4 {
		t.Errorf("got %d drawings", len(drawings))
	}
	for _, drawing := range drawings {
		decoder := xml.NewDecoder(strings.NewReader(strings.TrimSuffix(drawing, "\n</div>")))
		for {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v in:\n%s", err, drawing)
			}
		}
	}
}
