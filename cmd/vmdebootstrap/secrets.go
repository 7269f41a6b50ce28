// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
)

// secretSource reads the passwords that config files refer to by file or variable.
type secretSource struct {
	dir    string // the working directory
	lookup func(name string) (value string, found bool)
}

// secretSource returns the source of secrets in this environment.
func (e environment) secretSource() secretSource {
	return secretSource{dir: e.dir, lookup: e.lookupEnv}
}

// read returns the password that text refers to: file:NAME is the first line of a file, env:NAME a variable. Any other
// text is the password itself.
func (s secretSource) read(text string) (string, error) {
	if name, ok := strings.CutPrefix(text, "file:"); ok {
		return s.readFile(name)
	}
	if name, ok := strings.CutPrefix(text, "env:"); ok {
		value, found := s.lookup(name)
		if !found {
			return "", fmt.Errorf("environment variable %s is not set", name)
		}
		return value, nil
	}
	return text, nil
}

func (s secretSource) readFile(name string) (string, error) {
	data, err := os.ReadFile(absolute(s.dir, name))
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(data), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("the first line of %s is empty", name)
	}
	return line, nil
}

// resolver is a value that holds passwords, which a config file may refer to.
type resolver interface {
	// resolve returns the text with the password in place of the reference to it.
	resolve(text string, secrets secretSource) (string, error)
}

func (v secretValue) resolve(text string, secrets secretSource) (string, error) {
	return secrets.read(text)
}

// resolve reads the password of NAME/file:FILE and NAME/env:VARIABLE.
func (v usersValue) resolve(text string, secrets secretSource) (string, error) {
	name, password, has := strings.Cut(text, "/")
	if !has {
		return text, nil
	}
	password, err := secrets.read(password)
	return name + "/" + password, err
}

// resolve reads the hash of USER:file:FILE and USER:env:VARIABLE.
func (v hashesValue) resolve(text string, secrets secretSource) (string, error) {
	user, hash, has := strings.Cut(text, ":")
	if !has {
		return text, nil
	}
	hash, err := secrets.read(hash)
	return user + ":" + hash, err
}

// readCacheKey reads the key of --cache-key.
func (s *settings) readCacheKey() error {
	const flag = "--cache-key"
	if s.cacheKey == "" {
		return nil
	}
	var err error
	if s.key, err = readKey(flag, s.secrets.dir, s.cacheKey); err != nil {
		return err
	}
	if len(s.cacheTo) > 0 && !s.key.Signs() {
		return &builder.Problem{Flag: flag, Err: fmt.Errorf(
			"%s is a public key, which can only verify: --cache-to needs the private key", s.cacheKey)}
	}
	return nil
}

// readSignKey reads the key of --sign-key.
func (s *settings) readSignKey() error {
	const flag = "--sign-key"
	if s.signKeyFile == "" {
		return nil
	}
	if s.options.Provenance == "" {
		return &builder.Problem{Flag: flag, Err: errors.New("it signs the statement of --provenance, which is missing")}
	}
	var err error
	if s.signKey, err = readKey(flag, s.secrets.dir, s.signKeyFile); err != nil {
		return err
	}
	if !s.signKey.Signs() {
		return &builder.Problem{Flag: flag, Err: fmt.Errorf("%s is a public key, which can only verify", s.signKeyFile)}
	}
	return nil
}

// readKey reads the ed25519 key in a file that an option names. Its errors show nothing of the key.
func readKey(flag, dir, name string) (*builder.CacheKey, error) {
	data, err := os.ReadFile(absolute(dir, name))
	if err != nil {
		return nil, &builder.Problem{Flag: flag, Err: err}
	}
	key, err := builder.ParseCacheKey(data)
	if err != nil {
		return nil, &builder.Problem{Flag: flag, Err: fmt.Errorf("%s: %w", name, err)}
	}
	return key, nil
}

// readPasswordFile takes root's password from the file of --root-password-file.
func (s *settings) readPasswordFile() error {
	const flag = "--root-password-file"
	if s.rootPasswordFile == "" {
		return nil
	}
	if !s.options.RootPassword.IsZero() {
		return &builder.Problem{Flag: flag, Err: errors.New("--root-password is set as well; give one of them")}
	}
	password, err := s.secrets.readFile(s.rootPasswordFile)
	if err != nil {
		return &builder.Problem{Flag: flag, Err: err}
	}
	s.options.RootPassword = builder.NewSecret(password)
	return nil
}

// readBuildSecrets reads the secrets of --secret, which have the form of docker and podman: id=ID,src=FILE or
// id=ID,env=VARIABLE.
func (s *settings) readBuildSecrets() error {
	var errs []error
	for _, text := range s.buildSecrets {
		read, err := s.secrets.buildSecret(text)
		if err == nil && slices.ContainsFunc(s.options.BuildSecrets,
			func(other builder.BuildSecret) bool { return other.ID == read.ID }) {
			err = fmt.Errorf("%q is given twice", read.ID)
		}
		if err != nil {
			errs = append(errs, &builder.Problem{Flag: "--secret", Err: err})
			continue
		}
		s.options.BuildSecrets = append(s.options.BuildSecrets, read)
	}
	return errors.Join(errs...)
}

// buildSecret reads one secret of --secret.
func (s secretSource) buildSecret(text string) (builder.BuildSecret, error) {
	var id, file, variable, kind string
	for field := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(field, "=")
		switch strings.ToLower(name) {
		case "id":
			id = value
		case "src", "source":
			file = value
		case "env":
			variable = value
		case "type":
			kind = value
		default:
			return builder.BuildSecret{}, fmt.Errorf("unknown %q; want id=ID,src=FILE or id=ID,env=VARIABLE", name)
		}
	}
	if kind == "env" && variable == "" {
		variable, file = file, "" // as docker reads type=env,src=VARIABLE
	}
	if id == "" || (file == "") == (variable == "") {
		return builder.BuildSecret{}, fmt.Errorf("%q is neither id=ID,src=FILE nor id=ID,env=VARIABLE", text)
	}
	if variable != "" {
		value, found := s.lookup(variable)
		if !found {
			return builder.BuildSecret{}, fmt.Errorf("environment variable %s is not set", variable)
		}
		return builder.BuildSecret{ID: id, Text: builder.NewSecret(value)}, nil
	}
	data, err := os.ReadFile(absolute(s.dir, file))
	if err != nil {
		return builder.BuildSecret{}, err
	}
	return builder.BuildSecret{ID: id, Text: builder.NewSecret(string(data))}, nil
}
