// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vm"
)

// testsError says how many of several tests failed.
type testsError struct{ failed, all int }

func (e *testsError) Error() string {
	return fmt.Sprintf("%d of %d boot tests failed", e.failed, e.all)
}

// bootTest is the test of one image with one kind of firmware.
type bootTest struct {
	*bootCall
	picture string // the file for a picture of the screen; "" for none
	result  bootResult
	console string // its text until the end of the boot; all of it if the machine stopped to answer later
	failure error
}

// tests returns the tests of the call, image by image. What keeps a machine from starting is found before any starts.
func (b *bootCall) tests(dir string) ([]*bootTest, error) {
	pictures := b.screenshots
	if pictures == "" && b.junit != "" {
		pictures = filepath.Dir(b.junit)
	}
	var tests []*bootTest
	used := map[string]int{}
	for _, image := range b.images {
		for _, firmware := range b.kinds() {
			one, err := b.of(image, firmware)
			if err == nil {
				_, _, err = one.machine.Command(dir, testSerial)
			}
			if err != nil {
				return nil, err
			}
			t := &bootTest{bootCall: one, result: bootResult{Image: one.image, Arch: one.machine.Arch,
				Firmware: string(firmware), name: image}}
			if pictures != "" {
				name := filepath.Base(image) + "-" + string(firmware)
				if used[name]++; used[name] > 1 { // images of one name in several directories
					name += "-" + strconv.Itoa(used[name])
				}
				t.picture = filepath.Join(pictures, name+".png")
			}
			tests = append(tests, t)
		}
	}
	return tests, nil
}

// atOnce returns how many machines may run at once: each has a processor of its own with software emulation, else two.
func (b *bootCall) atOnce(accel string) int {
	if b.jobs > 0 {
		return b.jobs
	}
	each := 2
	if strings.HasPrefix(accel, vm.Software) {
		each = 1
	}
	return max(1, runtime.GOMAXPROCS(0)/each)
}

// testAll tests each image with each kind of firmware, several at once, and reports the results. A call that is
// cancelled reports nothing.
func (b *bootCall) testAll(ctx context.Context) error {
	dir, err := os.MkdirTemp("", tempPattern)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	tests, err := b.tests(dir)
	if err != nil {
		return err
	}
	var page *bootReport
	if b.page != "" {
		if page, err = openReport(absolute(b.env.dir, b.page), tests[0].image); err != nil {
			return err
		}
	}
	title := "boot " + tests[0].image
	if len(tests) > 1 {
		title = fmt.Sprintf("boot %d machines", len(tests))
	}
	w := b.env.beginWork(b.progress, title, b.out, b.err)
	messages := &lockedWriter{w: w.display.Stderr()}
	var group errgroup.Group
	group.SetLimit(b.atOnce(tests[0].machine.Accel))
	for i, t := range tests {
		t.err = messages
		group.Go(func() error {
			if t.failure = ctx.Err(); t.failure != nil {
				return nil
			}
			of := ""
			if len(tests) > 1 {
				of = t.result.of() + ": "
			}
			own := filepath.Join(dir, strconv.Itoa(i))
			if t.failure = os.Mkdir(own, 0o700); t.failure == nil {
				t.failure = t.test(ctx, own, w, of)
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are in the tests
	if err := ctx.Err(); err != nil {
		w.end(err)
		return fmt.Errorf("boot: %w", err)
	}
	err = testsFailure(tests)
	w.end(err)
	err = errors.Join(err, b.report(ctx, tests))
	if page != nil {
		err = errors.Join(err, page.add(ctx, b.env, tests))
	}
	return err
}

// testsFailure returns the error of the only test, or one about all tests.
func testsFailure(tests []*bootTest) error {
	if len(tests) == 1 {
		return tests[0].failure
	}
	failed := 0
	for _, t := range tests {
		if t.failure != nil {
			failed++
		}
	}
	if failed == 0 {
		return nil
	}
	return &testsError{failed, len(tests)}
}

// test starts the machine, waits for b.expect on its console, and runs the checks and the command. dir is for temporary
// files; of begins the lines that tell what happens.
func (t *bootTest) test(ctx context.Context, dir string, w *work, of string) error {
	// A machine ends with its context, and when time is over there is a picture to take.
	life, end := context.WithTimeout(ctx, t.timeout+pictureTime)
	defer end()
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	result := &t.result
	result.began = t.env.now()
	if err := t.prepare(ctx, dir); err != nil {
		return err
	}
	machine, err := t.start(life, dir, t.err, func(lastLine string) { w.Say("console", of+lastLine) })
	if err != nil {
		return err
	}
	defer machine.Stop()
	result.started = true
	err = t.await(ctx, machine, t.expect)
	t.console = machine.Text()
	result.Seconds = t.env.now().Sub(result.began).Round(100 * time.Millisecond).Seconds()
	if t.verbose {
		fmt.Fprintln(t.err, of+t.console)
	}
	if result.Booted = err == nil; result.Booted && t.login != "" {
		err = t.session(ctx, machine, result)
	}
	var unseen *vm.NotSeenError
	if errors.As(err, &unseen) {
		t.console = machine.Text()
		result.Console, result.Reason = unseen.Tail, string(unseen.Reason)
	}
	if err != nil {
		result.Error = err.Error()
		t.takePicture(life, machine)
	}
	return err
}

// await waits for an expression on the console. Before, it types the passphrase of an encrypted disk if one is given.
func (b *bootCall) await(ctx context.Context, machine *vm.VM, expression string) error {
	if b.luks != "" {
		if err := machine.Unlock(ctx, b.passphrase); err != nil {
			return err
		}
	}
	_, err := machine.Expect(ctx, regexp.MustCompile(expression))
	return err
}

// pictureTime is far longer than QEMU takes for a picture of the screen.
const pictureTime = 10 * time.Second

// takePicture writes a picture of the screen. A machine that has ended or has no screen has none, and a test that was
// cancelled needs none.
func (t *bootTest) takePicture(ctx context.Context, machine *vm.VM) {
	if t.picture == "" || ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pictureTime)
	defer cancel()
	picture, err := machine.Screenshot(ctx)
	if err == nil {
		err = writeOutput(ctx, absolute(t.env.dir, t.picture), picture)
	}
	if err != nil {
		fmt.Fprintf(t.err, "%s: no picture of the screen: %v\n", t.result.of(), err)
		return
	}
	t.result.Screenshot = t.picture
}

// writeOutput writes a file that the user asked for, which gets its name when it is complete.
func writeOutput(ctx context.Context, name string, data []byte) error {
	return diskimage.WriteFile(ctx, name, 0o666, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// session logs in, and runs the checks and the command.
func (b *bootCall) session(ctx context.Context, machine *vm.VM, result *bootResult) error {
	if err := machine.Login(ctx, b.user, b.password); err != nil {
		return err
	}
	if b.checks != nil {
		if err := b.runChecks(ctx, machine, result); err != nil {
			return err
		}
	}
	if b.run == "" {
		return nil
	}
	output, status, err := machine.Run(ctx, b.run)
	if err != nil {
		return err
	}
	result.Output, result.Status = output, &status
	if status != 0 {
		return fmt.Errorf("--run: exit status %d", status)
	}
	return nil
}

// report prints the results and writes the file of --junit.
func (b *bootCall) report(ctx context.Context, tests []*bootTest) error {
	var results []bootResult
	for _, t := range tests {
		if t.failure != nil {
			t.result.Error = t.failure.Error()
		}
		results = append(results, t.result)
	}
	var err error
	switch {
	case b.json && len(results) == 1:
		err = printJSON(b.out, results[0])
	case b.json:
		err = printJSON(b.out, results)
	default:
		for _, r := range results {
			b.print(r, len(results) > 1)
		}
		if len(results) > 1 {
			err = printTable(b.out, results)
		}
	}
	if b.junit != "" {
		err = errors.Join(err, writeJUnit(ctx, absolute(b.env.dir, b.junit), results))
	}
	return err
}

// of names the test.
func (r bootResult) of() string { return r.name + " with " + r.Firmware }

// print prints one result for people. Of one among several it prints what the table does not say.
func (b *bootCall) print(r bootResult, several bool) {
	if several && r.Error != "" {
		fmt.Fprintf(b.err, "%s: %s\n", r.of(), r.Error)
	}
	if r.Console != "" {
		fmt.Fprintln(b.err, r.Console)
	}
	if r.Screenshot != "" {
		fmt.Fprintf(b.err, "a picture of the screen is in %s\n", r.Screenshot)
	}
	of := ""
	if several {
		of = r.of() + ": "
	} else if r.Booted {
		fmt.Fprintf(b.out, "%s: booted with %s in %.1f s\n", r.Image, r.Firmware, r.Seconds)
	}
	for _, c := range r.Checks {
		switch {
		case !c.OK:
			fmt.Fprintf(b.out, "%sFAILED: %s: %s\n%s", of, c.Name, c.Error, c.Output)
		case !several:
			fmt.Fprintf(b.out, "ok: %s\n", c.Name)
		}
	}
	if !several {
		fmt.Fprint(b.out, r.Output)
	}
}

// printTable prints a line for each of several results.
func printTable(w io.Writer, results []bootResult) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "IMAGE\tFIRMWARE\tRESULT\tLOGIN\tCHECKS")
	for _, r := range results {
		verdict, login, checks := "ok", "-", "-"
		if r.Error != "" {
			verdict = "FAILED"
		}
		if r.Booted {
			login = fmt.Sprintf("%.1f s", r.Seconds)
		}
		if len(r.Checks) > 0 {
			checks = fmt.Sprintf("%d of %d", len(r.Checks)-r.failedChecks(), len(r.Checks))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", r.name, r.Firmware, verdict, login, checks)
	}
	return table.Flush()
}

// lockedWriter lets several goroutines write.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
