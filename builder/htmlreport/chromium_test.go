// SPDX-License-Identifier: Apache-2.0

package htmlreport

import (
	"bytes"
	"image/color"
	"image/png"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// browser shows one page in headless Chromium.
type browser struct {
	t       *testing.T
	program string
	dir     string
	page    string // its address
	sandbox string // the option without which Chromium does not start here; empty for none
}

func newBrowser(t *testing.T, r Report) *browser {
	t.Helper()
	b := &browser{t: t, dir: t.TempDir(), program: diskimagetest.Tool(t, "chromium")}
	file := filepath.Join(b.dir, "page.html")
	if err := os.WriteFile(file, []byte(write(t, r)), 0o600); err != nil {
		t.Fatal(err)
	}
	b.page = (&url.URL{Scheme: "file", Path: file}).String()
	return b
}

// run calls Chromium with the part of the page's address after #, and returns its standard output.
func (b *browser) run(fragment string, args ...string) []byte {
	b.t.Helper()
	for {
		all := append([]string{"--headless", "--disable-gpu", "--hide-scrollbars",
			"--user-data-dir=" + filepath.Join(b.dir, "profile")}, args...)
		if b.sandbox != "" {
			all = append(all, b.sandbox)
		}
		cmd := exec.CommandContext(b.t.Context(), b.program, append(all, b.page+fragment)...)
		cmd.Env = append(os.Environ(), "HOME="+b.dir)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		if err == nil {
			return stdout.Bytes()
		}
		// Root, and containers without user namespaces, cannot have its sandbox. The page is ours.
		if b.sandbox != "" || !strings.Contains(stderr.String(), "sandbox") {
			b.t.Fatalf("chromium: %v\n%s", err, stderr.String())
		}
		b.sandbox = "--no-sandbox"
	}
}

// picture returns what the page looks like in a window of this width, in pixels.
func (b *browser) picture(fragment string, width string, args ...string) (rows [][]color.Color) {
	b.t.Helper()
	file := filepath.Join(b.dir, "page.png")
	b.run(fragment, append(args, "--window-size="+width+",5000", "--screenshot="+file)...)
	f, err := os.Open(file)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		b.t.Fatal(err)
	}
	for y := range img.Bounds().Dy() {
		row := make([]color.Color, img.Bounds().Dx())
		for x := range row {
			row[x] = img.At(x, y)
		}
		rows = append(rows, row)
	}
	return rows
}

// Issue 18, 10: a browser shows the page as it was written, whatever the names in it are, in light and dark, on a
// telephone and in print, and zooms without a script.
func TestBrowserShowsThePage(t *testing.T) {
	t.Parallel()
	r := newReport()
	r.Image.System.Hostname = "</dd><script>document.title = 'taken over'</script>" +
		"<img src=x onerror=\"document.title='taken over'\">"
	b := newBrowser(t, r)

	dom := string(b.run("", "--dump-dom"))
	images := 0
	elements(t, dom, func(e *html.Node) {
		switch {
		case e.Data == "img":
			images++
		case e.Data == "title" && e.Parent.Data == "head" && e.FirstChild.Data != "debian.img":
			t.Errorf("the page has the title %q", e.FirstChild.Data)
		}
	})
	if images > 0 || !strings.Contains(dom, "Serial console") {
		t.Errorf("%d images in:\n%s", images, dom)
	}

	// Padding has the colour of the paper from top to bottom: nothing sticks out to the right.
	paper := func(what string, rows [][]color.Color, want color.RGBA) {
		t.Helper()
		for y, row := range rows {
			for _, pixel := range row[len(row)-12:] {
				if got := color.RGBAModel.Convert(pixel); got != want {
					t.Fatalf("%s: %v in row %d at the right edge, want %v", what, got, y, want)
				}
			}
		}
	}
	const wide, telephone = "1280", "390"
	light := b.picture("", wide)
	paper("light", light, color.RGBA{0xfd, 0xfd, 0xfc, 0xff})
	dark := b.picture("", wide, "--blink-settings=preferredColorScheme=0")
	paper("dark", dark, color.RGBA{0x17, 0x18, 0x1a, 0xff})
	paper("telephone", b.picture("", telephone), color.RGBA{0xfd, 0xfd, 0xfc, 0xff})
	if slices.EqualFunc(light, b.picture("#package-1", wide), slices.Equal) {
		t.Error("a link to a part of the map shows nothing else")
	}

	file := filepath.Join(b.dir, "page.pdf")
	b.run("", "--print-to-pdf="+file)
	if pdf, err := os.ReadFile(file); err != nil || !bytes.HasPrefix(pdf, []byte("%PDF-")) {
		t.Errorf("print: %v, %d bytes", err, len(pdf))
	}
}
