// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/vmdebootstrap/vmdebootstrap/builder/htmlreport"
	"github.com/vmdebootstrap/vmdebootstrap/builder/inspect"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// bootReport is the page of --report to which boot --test adds results.
type bootReport struct {
	file string // absolute
	// page is what was there before the test: nil for nothing.
	page *htmlreport.Report
}

// openReport reads the page that the test of an image is to be added to, before the test begins.
func openReport(file, image string) (*bootReport, error) {
	r := &bootReport{file: file}
	if err := writable(filepath.Dir(file)); err != nil {
		return nil, fmt.Errorf("--report: %s cannot be made there: %w", file, err)
	}
	page, err := htmlreport.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, nil
	case err != nil:
		return nil, fmt.Errorf("--report: %w: remove the file, or name another one", err)
	case filepath.Base(page.Image.Source) != filepath.Base(image):
		return nil, fmt.Errorf("--report: %s is the page of %s: remove the file, or name another one", file,
			page.Image.Source)
	}
	r.page = &page
	return r, nil
}

// add adds the results of tests of the image to the page, and makes one if there is none.
func (r *bootReport) add(ctx context.Context, env environment, tests []*bootTest) error {
	if r.page == nil {
		page := newBootPage(ctx, env, tests[0].image)
		r.page = &page
	}
	for _, t := range tests {
		boot := htmlreport.Boot{Time: t.result.began.UTC(), Firmware: t.result.Firmware, Arch: t.result.Arch,
			Booted: t.result.Booted, Seconds: t.result.Seconds, Error: t.result.Error, Console: t.console}
		for _, c := range t.result.Checks {
			boot.Checks = append(boot.Checks, htmlreport.Check(c))
		}
		r.page.AddBoot(boot)
	}
	var page bytes.Buffer
	err := r.page.Write(&page)
	if err == nil {
		err = writeOutput(ctx, r.file, page.Bytes())
	}
	if err != nil {
		return fmt.Errorf("--report: %w", err)
	}
	return nil
}

// newBootPage describes an image that has no page yet. QEMU reads more images than this program, which then have no
// description.
func newBootPage(ctx context.Context, env environment, image string) (page htmlreport.Report) {
	opener := sourceOpener{env: env, anyDisk: true}
	err := inspectImage(ctx, opener, "disk:"+image, func(found inspect.Report, index diskimage.Index) error {
		found.Source = image
		page = imagePage(found, index)
		return nil
	})
	if err != nil && page.Program == "" {
		page = imagePage(inspect.NewUnreadable(image, nil, "", err), nil)
	}
	return page
}
