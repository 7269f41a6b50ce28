// SPDX-License-Identifier: Apache-2.0

// Package htmlreport turns what is known about an image into one HTML page: its disk drawn to scale, packages and
// directories by size, the steps of its build with their times, what has changed since an earlier image, and what boot
// tests have shown.
//
// A Report is data, and Write a function of it: the same data make the same page. The page needs nothing else: no
// script, no network, and a Content-Security-Policy forbids both. Maps are zoomed with links and the CSS selector
// :target, so that the keyboard, the browser's history and screen readers work as on any page; each drawing has a
// table. All names are hostile: html/template escapes them, and characters that are not to be seen are written as
// \u202e.
//
// The page of a build or of a boot test holds its data as JSON as well, and Read reads them. So the next build with the
// same file knows what has changed, and a boot test can add its result to the page of the build.
//
// Not supported: sizes of directories of a system that cannot be read, and changes of single files since the last
// build.
package htmlreport

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/difference"
	"github.com/vmdebootstrap/vmdebootstrap/builder/inspect"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Schema is the version of the data in a page. Read ignores pages of others.
const Schema = 1

// Report is what a page shows. Parts that are nil or empty are left out.
type Report struct {
	Schema int `json:"schema"`
	// Program is the program that made the page, with its version: "vmdebootstrap 1.12.0".
	Program string         `json:"program"`
	Image   inspect.Report `json:"image"`
	// Directories are those of the image, by size.
	Directories *Directory `json:"directories,omitempty"`
	Build       *Build     `json:"build,omitempty"`
	Change      *Change    `json:"change,omitempty"`
	Boots       []Boot     `json:"boots,omitempty"`
}

// Build is how the image was built.
type Build struct {
	Began time.Time       `json:"began"`
	Steps []progress.Step `json:"steps"`
	Usage progress.Usage  `json:"usage"`
	Files []progress.File `json:"files"` // the outputs
}

// Change is what has changed since an earlier image.
type Change struct {
	From       inspect.Report    `json:"from"`
	FromBuild  *Build            `json:"from_build,omitempty"`
	Difference difference.Report `json:"difference"`
	// AllFiles shows each file that differs, also those of packages that do.
	AllFiles bool `json:"all_files,omitempty"`
}

// Boot is the result of a boot test.
type Boot struct {
	Time     time.Time `json:"time"`
	Firmware string    `json:"firmware"`
	Arch     string    `json:"arch"`
	Booted   bool      `json:"booted"`
	Seconds  float64   `json:"seconds"` // until the login prompt
	Error    string    `json:"error,omitempty"`
	Checks   []Check   `json:"checks,omitempty"`
	// Console is what the serial console has shown until the end of the boot.
	Console string `json:"console"`
}

// Check is the result of one check of a boot test.
type Check struct {
	Name    string  `json:"name"`
	OK      bool    `json:"ok"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
	Output  string  `json:"output,omitempty"` // of a check that failed
}

// Since notes what has changed since an earlier report of a build.
func (r *Report) Since(earlier Report) {
	r.Change = &Change{From: earlier.Image, FromBuild: earlier.Build,
		Difference: difference.CompareReports(earlier.Image, r.Image)}
}

// AddBoot adds the result of a boot test, in the place of a former one with the same firmware and architecture.
func (r *Report) AddBoot(b Boot) {
	for i, former := range r.Boots {
		if former.Firmware == b.Firmware && former.Arch == b.Arch {
			r.Boots[i] = b
			return
		}
	}
	r.Boots = append(r.Boots, b)
}

// embedded reports whether the page holds its data for Read.
func (r Report) embedded() bool { return r.Build != nil || len(r.Boots) > 0 }

// dataBegin and dataEnd enclose the data in a page. They cannot occur in the data: html/template writes < as \u003c in
// them.
var (
	dataBegin = []byte(`<script type="application/json" id="data">`)
	dataEnd   = []byte(`</script>`)
)

// maxPage is far larger than any page.
const maxPage = 256 << 20

// ErrNoData says that a file is no page with data, or one of another version.
var ErrNoData = errors.New("it is no page of a build or a boot test by this version of the program")

// ReadFile reads the data of the page in a file. The error wraps fs.ErrNotExist if there is none.
func ReadFile(name string) (Report, error) {
	f, err := diskimage.OpenRegular(name)
	if err != nil {
		return Report{}, err
	}
	defer f.Close()
	report, err := Read(f)
	if err != nil {
		return Report{}, fmt.Errorf("%s: %w", name, err)
	}
	return report, nil
}

// Read reads the data of a page. The error wraps ErrNoData for any other file.
func Read(r io.Reader) (Report, error) {
	page, err := io.ReadAll(io.LimitReader(r, maxPage))
	if err != nil {
		return Report{}, fmt.Errorf("read page: %w", err)
	}
	_, data, found := bytes.Cut(page, dataBegin)
	data, _, ended := bytes.Cut(data, dataEnd)
	if !found || !ended {
		return Report{}, fmt.Errorf("read page: %w", ErrNoData)
	}
	var report Report
	if err := json.Unmarshal(data, &report); err != nil {
		return Report{}, fmt.Errorf("read page: %w: %w", ErrNoData, err)
	}
	if report.Schema != Schema || report.Image.Schema != inspect.Schema {
		return Report{}, fmt.Errorf("read page: %w", ErrNoData)
	}
	return report, nil
}
