// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// finding is one thing that a build needs, or that is good to know.
type finding struct {
	Name string `json:"name"`
	// State is ok, missing, or other: not for this user, or not needed for builds.
	State string `json:"state"`
	// Text says what there is, or what is missing.
	Text string `json:"text"`
	Cure string `json:"cure,omitempty"`
}

// States of a finding.
const (
	stateOK      = "ok"
	stateMissing = "missing"
	stateOther   = "other"
)

// diagnosis is what "vmdebootstrap doctor" finds.
type diagnosis struct {
	// Builds reports whether a build can run here.
	Builds    bool          `json:"builds"`
	Isolation oci.Isolation `json:"isolation,omitempty"`
	Findings  []finding     `json:"findings"`
}

// errNoBuilds ends a doctor whose findings have been told.
const errNoBuilds = childStatus(exitHost)

// newDoctorVerb makes "vmdebootstrap doctor": it finds out by trying whether builds can run here.
func newDoctorVerb(env environment, out io.Writer) *cobra.Command {
	var stateDir string
	var asJSON, profile bool
	verb := &cobra.Command{
		Use:   "doctor",
		Short: "tell whether builds can run here, and what is missing",
		Long: "Try what a build needs of this machine, and tell for each thing whether it is there and how to get it. The exit\n" +
			"status is 0 if a build can run here, and 4 if not.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			program, err := os.Readlink("/proc/self/exe")
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			if profile {
				_, err := io.WriteString(out, oci.AppArmorProfile(oci.AppArmorPath(program)))
				return err
			}
			d, err := examine(cmd.Context(), env, stateDir, program)
			if err != nil {
				return err
			}
			if asJSON {
				encoder := json.NewEncoder(out)
				encoder.SetIndent("", "  ")
				err = encoder.Encode(d)
			} else {
				err = d.print(out)
			}
			if err == nil && !d.Builds {
				err = errNoBuilds
			}
			return err
		},
	}
	flags := verb.Flags()
	flags.SortFlags = false
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	flags.BoolVar(&profile, "apparmor-profile", false,
		"print the AppArmor profile that lets this program make user namespaces, and exit")
	flags.StringVar(&stateDir, "state-dir", "", "the `DIRECTORY` of the builds (default: ~/.cache/vmdebootstrap)")
	return verb
}

// examine looks at everything.
func examine(ctx context.Context, env environment, stateDir, program string) (diagnosis, error) {
	dir, err := env.stateDir(stateDir)
	if err != nil {
		return diagnosis{}, err
	}
	report, err := oci.Probe(ctx, dir)
	if err != nil {
		return diagnosis{}, err
	}
	d := diagnosis{Isolation: report.Isolation}
	for _, rung := range report.Rungs {
		d.Findings = append(d.Findings, checkRung(rung))
	}
	d.Findings = append(d.Findings, checkAppArmor(report, program))
	if report.Isolation != "" {
		d.Findings = append(d.Findings, checkStore(report, dir))
	}
	space := checkSpace(dir)
	d.Findings = append(d.Findings, space, checkMirror(env), checkQEMU(env.arch))
	d.Builds = report.Isolation != "" && space.State != stateMissing
	return d, nil
}

// isolationTexts say what a kind of isolation is.
var isolationTexts = map[oci.Isolation]string{
	oci.IsolationUserNS: "a user namespace with a range of ids",
	oci.IsolationSingle: "a user namespace with one id, and notes of whose files should be",
	oci.IsolationRoot:   "namespaces of root, whose ids are the host's",
	oci.IsolationChroot: "chroot without namespaces and mounts",
}

func checkRung(rung oci.Rung) finding {
	f := finding{Name: string(rung.Isolation), State: stateOK, Text: isolationTexts[rung.Isolation]}
	if rung.Err == nil {
		return f
	}
	if rung.ForOthers {
		f.State, f.Text = stateOther, f.Text+": not for this user"
		return f
	}
	f.State, f.Text = stateMissing, rung.Err.Error()
	var host *oci.HostError
	if errors.As(rung.Err, &host) {
		f.Cure = host.Cure
	}
	return f
}

// checkAppArmor tells of Ubuntu's restriction. Where it is in force the rung userns fails and has the cure.
func checkAppArmor(report oci.Report, program string) finding {
	f := finding{Name: "apparmor", State: stateOK, Text: "does not restrict user namespaces"}
	switch {
	case report.AppArmor && report.Isolation != "":
		f.Text = "restricts user namespaces, but not this program's"
	case report.AppArmor:
		f.State, f.Text = stateMissing, "restricts user namespaces; this profile lets "+program+" have them"
		f.Cure = oci.AppArmorProfile(oci.AppArmorPath(program))
	}
	return f
}

func checkStore(report oci.Report, dir string) finding {
	f := finding{Name: "store", State: stateOK, Text: report.Driver + ", in " + dir}
	if report.NoOverlay != "" {
		f.Text += "; each snapshot is a full copy, as overlay does not work: " + report.NoOverlay
	}
	return f
}

// leastSpace is less than a system of Debian without a kernel takes, with its packages and the toolbox.
const leastSpace = 1 * diskimage.GB

// checkSpace looks at the file system of the state directory, which need not exist yet.
func checkSpace(dir string) finding {
	f := finding{Name: "space", State: stateOK}
	at := dir
	var st unix.Statfs_t
	err := unix.Statfs(at, &st)
	for errors.Is(err, unix.ENOENT) && at != filepath.Dir(at) {
		at = filepath.Dir(at)
		err = unix.Statfs(at, &st)
	}
	if err != nil {
		f.State, f.Text, f.Cure = stateMissing, fmt.Sprintf("look at %s: %v", at, err),
			"name another directory with --state-dir"
		return f
	}
	free := diskimage.Size(st.Bavail) * diskimage.Size(st.Bsize)
	f.Text = fmt.Sprintf("%.1f GB free for %s", float64(free)/float64(diskimage.GB), dir)
	if free < leastSpace {
		f.State, f.Cure = stateMissing,
			"make room: a build needs some GB; or name a directory elsewhere with --state-dir"
	}
	return f
}

func checkMirror(env environment) finding {
	if env.mirror != "" {
		return finding{Name: "mirror", State: stateOK,
			Text: builder.NewURL(env.mirror).String() + ", from this machine's apt sources"}
	}
	return finding{Name: "mirror", State: stateOK,
		Text: "Debian's own, as this machine has no apt sources; --mirror names another"}
}

// checkQEMU looks for what "vmdebootstrap boot" needs.
func checkQEMU(arch string) finding {
	programs := map[string][2]string{
		"amd64": {"qemu-system-x86_64", "qemu-system-x86"}, "i386": {"qemu-system-x86_64", "qemu-system-x86"},
		"arm64": {"qemu-system-aarch64", "qemu-system-arm"},
	}
	f := finding{Name: "boot", State: stateOther}
	qemu, ok := programs[arch]
	if !ok {
		f.Text = "images for " + arch + " are not started by the verb boot"
		return f
	}
	if _, err := exec.LookPath(qemu[0]); err != nil {
		f.Text, f.Cure = "the verb boot finds no "+qemu[0], "as root, run: apt install "+qemu[1]
		return f
	}
	f.State, f.Text = stateOK, qemu[0]+" with KVM"
	if unix.Access("/dev/kvm", unix.R_OK|unix.W_OK) != nil {
		f.Text = qemu[0] + " without KVM: images start slowly"
	}
	return f
}

// stateMarks begin the lines.
var stateMarks = map[string]string{stateOK: "ok", stateMissing: "NO", stateOther: "-"}

// print writes a line for each finding, with the cure below it.
func (d diagnosis) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, f := range d.Findings {
		fmt.Fprintf(w, "%s\t%s\t%s\n", stateMarks[f.State], f.Name, f.Text)
		if f.Cure != "" {
			fmt.Fprintf(w, "\t\t%s\n", f.Cure)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	conclusion := "builds run here, with --isolation " + string(d.Isolation)
	if !d.Builds {
		conclusion = "builds cannot run here"
	}
	_, err := fmt.Fprintln(out, conclusion)
	return err
}
