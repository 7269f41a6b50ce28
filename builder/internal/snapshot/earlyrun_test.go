// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

// earlyOutputs runs a program early in a copy.
type earlyOutputs struct {
	chain  *Chain
	copied target.Rootfs
	run    *EarlyRun
}

func (o *earlyOutputs) Make(_ context.Context, _ target.Target, of step.Output, run func() error) (err error) {
	o.run, err = o.chain.RunEarly(o.copied, Outputs(of), run)
	return err
}

// TestEarlyRunIsUsedWhereInputsAreTheSame makes an initramfs in a copy of a system, and then that of the system.
func TestEarlyRunIsUsedWhereInputsAreTheSame(t *testing.T) {
	t.Parallel()
	write := func(name, text string) func(*targettest.Target) error {
		return func(f *targettest.Target) error { return os.WriteFile(f.Path(name), []byte(text), 0o644) }
	}
	for name, tt := range map[string]struct {
		change func(*targettest.Target) error
		failed error
		why    string // "" if it does not run again
	}{
		"nothing":                    {change: func(*targettest.Target) error { return nil }},
		"a name that always differs": {change: write("/etc/hostname", "debian")},
		"a file that nobody read":    {change: write("/etc/motd", "other")},
		"a file that was read":       {change: write("/lib/modules/a.ko", "b"), why: "/lib/modules/a.ko changed since"},
		"a new file beside it":       {change: write("/lib/modules/b.ko", "b"), why: "/lib/modules/b.ko changed since"},
		"a removed file beside it": {change: func(f *targettest.Target) error { return os.Remove(f.Path("/etc/motd")) },
			why: "/etc/motd changed since"},
		"a removed directory": {change: func(f *targettest.Target) error {
			return os.RemoveAll(f.Path("/etc/initramfs-tools/scripts"))
		}, why: "/etc/initramfs-tools/scripts changed since"},
		"a failure": {change: func(*targettest.Target) error { return nil }, failed: errors.New("no time"), why: "no time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &outputEngine{t: t, kept: map[string]*targettest.Target{}}
			c := initramfsChain(t, e)
			early := &earlyOutputs{chain: c, copied: outputTarget{initramfsTarget(t), e}}
			if err := (step.Initramfs{}).Run(t.Context(), &step.Context{Target: early.copied, Outputs: early,
				Out: step.NewTail(nil)}); err != nil {
				t.Fatal(err)
			}
			if len(e.kept) > 0 {
				t.Error("the cache has an initramfs of no system")
			}
			f := initramfsTarget(t)
			if err := tt.change(f); err != nil {
				t.Fatal(err)
			}
			c.Early = func(context.Context) (*EarlyRun, error) { return early.run, tt.failed }
			ran, why := makeInitramfs(t, f, c)
			if !strings.Contains(why, tt.why) {
				t.Errorf("it says %q, want %q", why, tt.why)
			}
			if ran != (tt.why != "") {
				t.Errorf("it ran again: %v", ran)
			}
			if info, err := f.Lstat("/var/lib/initramfs-tools/6.1"); err != nil || info.Mode() != 0o640 {
				t.Errorf("the other output is %v (%v)", info, err)
			}
			// The next build finds it in the cache, and one with another file does not.
			again, other := initramfsTarget(t), initramfsTarget(t)
			for _, err := range []error{tt.change(again), tt.change(other), write("/lib/modules/a.ko", "c")(other)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			if ran, why := makeInitramfs(t, again, c); ran {
				t.Errorf("the next build has run it again: %s", why)
			}
			if ran, why := makeInitramfs(t, other, c); !ran || !strings.Contains(why, "a.ko") {
				t.Errorf("with another module, it ran: %v (%s)", ran, why)
			}
		})
	}
}
