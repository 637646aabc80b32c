package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/twtrace/twtrace/fixtures"
)

// The manifest is YAML without a field that it should not have, its numbers
// agree, and what its pods run makes the dataset of one run.
func TestKubernetesManifest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "k8s-batch.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var job struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   struct{ Name string }
		Spec       struct {
			CompletionMode       string `yaml:"completionMode"`
			Completions          int
			Parallelism          int
			BackoffLimitPerIndex int `yaml:"backoffLimitPerIndex"`
			Template             struct {
				Spec struct {
					RestartPolicy string `yaml:"restartPolicy"`
					Containers    []struct {
						Name, Image string
						Env         []struct {
							Name, Value string
							ValueFrom   struct {
								FieldRef struct {
									FieldPath string `yaml:"fieldPath"`
								} `yaml:"fieldRef"`
							} `yaml:"valueFrom"`
						}
						Command, Args []string
						Resources     map[string]map[string]string
						VolumeMounts  []struct {
							Name      string
							MountPath string `yaml:"mountPath"`
							ReadOnly  bool   `yaml:"readOnly"`
						} `yaml:"volumeMounts"`
					}
					Volumes []struct {
						Name  string
						Claim struct {
							Name     string `yaml:"claimName"`
							ReadOnly bool   `yaml:"readOnly"`
						} `yaml:"persistentVolumeClaim"`
					}
				}
			}
			PodFailurePolicy struct {
				Rules []struct {
					Action string
					Codes  struct {
						Container string `yaml:"containerName"`
						Operator  string
						Values    []int
					} `yaml:"onExitCodes"`
				}
			} `yaml:"podFailurePolicy"`
		}
	}
	if err := yaml.UnmarshalWithOptions(text, &job, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	s := job.Spec
	if job.APIVersion != "batch/v1" || job.Kind != "Job" || s.CompletionMode != "Indexed" || s.Template.Spec.RestartPolicy != "Never" || len(s.Template.Spec.Containers) != 1 {
		t.Fatalf("%+v", job)
	}
	c := s.Template.Spec.Containers[0]
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
		if e.Name == "SHARD" && e.ValueFrom.FieldRef.FieldPath != "metadata.annotations['batch.kubernetes.io/job-completion-index']" {
			t.Errorf("SHARD is from %q", e.ValueFrom.FieldRef.FieldPath)
		}
	}
	if n := strconv.Itoa(s.Completions); env["SHARDS"] != n || s.Parallelism != s.Completions {
		t.Errorf("%s completions, %d at once, SHARDS %s: want one number", n, s.Parallelism, env["SHARDS"])
	}
	for _, v := range c.VolumeMounts {
		if !slices.Contains([]string{env["IN"], env["OUT"]}, v.MountPath) {
			t.Errorf("%s is mounted and not used", v.MountPath)
		}
	}
	for _, r := range s.PodFailurePolicy.Rules {
		if r.Codes.Container != c.Name || slices.Contains(r.Codes.Values, exitDamaged) {
			t.Errorf("%+v", r)
		}
	}
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("needs a shell")
	}
	bin := programs(t, "twtrace")[0]
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.CopyFS(in, fixtures.Recorded()); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(in, "sip-slow", "capture.pcapng.gz"), 5000); err != nil {
		t.Fatal(err)
	}
	for k := range 3 {
		pod := exec.Command(sh, append(slices.Clone(c.Command[1:]), c.Args...)...)
		pod.Env = append(os.Environ(), "PATH="+filepath.Dir(bin)+string(os.PathListSeparator)+os.Getenv("PATH"),
			"SHARD="+strconv.Itoa(k), "SHARDS=3", "IN="+in, "OUT="+out)
		if msg, err := pod.CombinedOutput(); err != nil {
			t.Errorf("pod %d: %v\n%s", k, err, msg)
		}
	}
	if code, _, stderr := call(t.Context(), nil, "batch", in, "-o", filepath.Join(dir, "one"), "-q"); code != exitDamaged {
		t.Fatalf("code %d: %s", code, stderr)
	}
	want, err := sums(filepath.Join(dir, "one", "tables"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := sums(filepath.Join(out, "tables")); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%s", err, difference(want, got))
	}
}
