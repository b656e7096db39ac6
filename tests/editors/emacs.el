;;; emacs.el --- Does in Emacs what tests/test_editors.py says  -*- lexical-binding: t; -*-

;; A step a line of JSON on stdin, an answer a line on stdout.

(require 'treadle)
(setq treadle-command (append (json-parse-string (getenv "TREADLE_COMMAND")) nil))
(set-language-environment "UTF-8")

(defun say (&rest answer)
  (send-string-to-terminal (concat (json-serialize answer :null-object nil :false-object :json-false) "\n"))) ; `princ' does not flush

(advice-add 'treadle-report :before (lambda (err) (say :message (plist-get err :message))))

(defun step (name argument)
  (pcase name
    ((or "pick" "agent" "approve") (funcall (intern (concat "treadle-" name)))) ; completing-read takes the next line
    ("diff" (treadle-diff))
    ("undo" (cl-letf (((symbol-function 'message) (lambda (&rest said) (say :message (apply #'format said))))) (treadle-undo)))
    ("new" (treadle-new argument))
    ("send" (treadle-send argument))
    ("steer" (treadle-steer argument))
    ("interrupt" (treadle-interrupt))
    ("resume" (treadle-resume))
    ("quit" (kill-emacs))
    ("until"
     (while (not (string-search argument (buffer-string))) (accept-process-output nil 1))
     (say :text (string-trim-right (buffer-substring-no-properties (point-min) (point-max)))))
    ("request"
     (let (answered)
       (treadle-request (intern (plist-get argument :method)) (plist-get argument :params)
                        (lambda (result) (setq answered t) (say :result result))
                        (lambda (err) (setq answered t) (say :error (plist-get err :message))))
       (say :sent t)
       (while (not answered) (accept-process-output nil 1)))) ; nothing comes while a line is read
    ("stop" (say :status (treadle-stop)))))

(say :pid (emacs-pid))
(condition-case nil
    (while t
      (let ((line (read-from-minibuffer "")))
        (condition-case err (apply #'step (append (json-parse-string line :object-type 'plist :null-object nil) nil))
          ((treadle-error user-error file-error) (say :message (error-message-string err))))))
  (end-of-file (kill-emacs)))
