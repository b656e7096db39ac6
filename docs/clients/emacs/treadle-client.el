;;; treadle-client.el --- A client of treadle  -*- lexical-binding: t; -*-

;; Package-Requires: ((emacs "28.1"))

;;; Commentary:

;; The connection, and views that follow a topic.
;; Needs only Emacs: jsonrpc.el frames messages and matches answers to their callbacks.

;;; Code:

(require 'cl-lib)
(require 'jsonrpc)
(require 'seq)
(require 'subr-x)

(defgroup treadle nil "Threads of coding agents." :group 'tools)

(defcustom treadle-command '("treadle" "serve")
  "The daemon's program and its arguments."
  :type '(repeat string))

(defvar treadle--connection nil "The connection to the current or last daemon.")
(defvar treadle--views nil "The open views: an alist by subscriptionId.")

;; The replica.  A view has the entities of a topic, sorted by sequence, each (KIND . VALUE).

(cl-defstruct treadle-view topic thread show entities (found (make-hash-table :test #'equal)) ended)

(defun treadle--put (view kind value)
  "Store VALUE, an entity of KIND, in VIEW."
  (let* ((key (cons kind (plist-get value :id)))
         (entity (gethash key (treadle-view-found view))))
    (if entity
        (setcdr entity value)
      (setq entity (cons kind value))
      (puthash key entity (treadle-view-found view))
      (setf (treadle-view-entities view) (nconc (treadle-view-entities view) (list entity))))))

(defun treadle--sort (view)
  "Sort the entities of VIEW by sequence."
  (cl-callf sort (treadle-view-entities view)
    (lambda (a b) (< (plist-get (cdr a) :sequence) (plist-get (cdr b) :sequence)))))

(defun treadle--load (view snapshot)
  "Fill VIEW from SNAPSHOT."
  (pcase-dolist (`(,plural . ,kind)
                 '((:projects . "project") (:threads . "thread") (:turns . "turn") (:messages . "message")
                   (:activities . "activity") (:approvals . "approval") (:checkpoints . "checkpoint")
                   (:prompts . "prompt")))
    (seq-doseq (value (plist-get snapshot plural))
      (treadle--put view kind value)))
  (treadle--sort view))

(defun treadle--apply (view change)
  "Apply CHANGE to VIEW.  Return nil if an earlier change was lost."
  (let* ((kind (plist-get change :entity))
         (key (cons kind (plist-get change :id)))
         (entity (gethash key (treadle-view-found view)))
         (text (plist-get (cdr entity) :text)))
    (pcase (plist-get change :type)
      ("upsert" (treadle--put view kind (plist-get change :value)) (treadle--sort view) t)
      ("append" (when (eql (length text) (plist-get change :offset)) ; Emacs counts code points
                  (setcdr entity (plist-put (cdr entity) :text (concat text (plist-get change :text))))))
      ("remove" (remhash key (treadle-view-found view))
       (setf (treadle-view-entities view) (delq entity (treadle-view-entities view)))
       t))))

;; The connection

(defun treadle-report (err)
  "Show ERR to the user."
  (message "treadle: %s" (plist-get err :message)))

(defun treadle-request (method params &optional then else)
  "Send METHOD with PARAMS; call THEN with the result, or ELSE with the error."
  (treadle--connect)
  (condition-case err
      (jsonrpc-async-request treadle--connection method params
                             :success-fn (or then #'ignore)
                             :error-fn (or else #'treadle-report)
                             :timeout nil) ; a command whose answer is late is still carried out
    (error (funcall (or else #'treadle-report) (list :message (error-message-string err))))))

(define-error 'treadle-error "Treadle")

(defun treadle-call (method params)
  "Send METHOD with PARAMS and wait.  Return the result or signal `treadle-error'.
`jsonrpc-request' would do, but in Emacs 28 it leaves the process filter by
a throw, and input behind the answer is not processed until more arrives."
  (let (answer)
    (treadle-request method params
                     (lambda (result) (setq answer (list result)))
                     (lambda (err) (setq answer err)))
    (while (not answer) (accept-process-output nil 1))
    (when (keywordp (car answer))
      (signal 'treadle-error (list (plist-get answer :message) (plist-get answer :data))))
    (car answer)))

(defun treadle--connect ()
  "Start the daemon unless it is running.
Requests sent before it has answered `initialize' are queued by it."
  (unless (and treadle--connection (jsonrpc-running-p treadle--connection))
    (setq treadle--connection
          (make-instance 'jsonrpc-process-connection
                         :name "treadle"
                         :process (lambda ()
                                    (make-process :name "treadle" :command treadle-command :noquery t
                                                  :connection-type 'pipe :coding 'utf-8-emacs-unix
                                                  :stderr (get-buffer-create "*treadle stderr*")))
                         :events-buffer-scrollback-size 0 ; nil would keep every token
                         :notification-dispatcher #'treadle--notified
                         :on-shutdown #'treadle--ended))
    (treadle-request 'initialize (list :processId (emacs-pid)) nil
                     (lambda (err) ; the data directory was refused
                       (treadle-report err)
                       (jsonrpc-notify treadle--connection 'exit nil)))
    (jsonrpc-notify treadle--connection 'initialized nil)))

(defun treadle-follow (topic thread show &optional else)
  "Subscribe to TOPIC, of THREAD.
Call SHOW with the view, now and after each change.  If that fails, call ELSE
with the error."
  (treadle-request
   'subscription/open `(:topic ,topic ,@(when thread `(:threadId ,thread)))
   (lambda (opened)
     (let ((view (make-treadle-view :topic topic :thread thread :show show)))
       (treadle--load view (plist-get opened :snapshot))
       (push (cons (plist-get opened :subscriptionId) view) treadle--views)
       (funcall show view)))
   else))

(defun treadle-unfollow (view)
  "Close the subscription of VIEW."
  (when-let ((id (car (rassq view treadle--views))))
    (setq treadle--views (rassq-delete-all view treadle--views))
    (treadle-request 'subscription/close (list :subscriptionId id))))

(defun treadle--notified (_connection method params)
  "Handle the notification METHOD with PARAMS."
  (pcase method
    ('window/logMessage (treadle-report params))
    ('projection/changed
     (when-let ((view (cdr (assoc (plist-get params :subscriptionId) treadle--views))))
       (if (seq-every-p (lambda (change) (treadle--apply view change)) (plist-get params :changes))
           (funcall (treadle-view-show view) view)
         (treadle-unfollow view)
         (treadle-follow (treadle-view-topic view) (treadle-view-thread view) (treadle-view-show view)))))))

(defun treadle--ended (connection)
  "Show in all views of CONNECTION that the daemon has exited."
  (let ((message (format "the daemon ended with status %d" (process-exit-status (jsonrpc--process connection))))
        (views (mapcar #'cdr treadle--views)))
    (setq treadle--views nil)
    (message "treadle: %s" message)
    (dolist (view views)
      (setf (treadle-view-ended view) message)
      (funcall (treadle-view-show view) view))))

(defun treadle-stop ()
  "Shut the daemon down and return its exit status."
  (interactive)
  (when (and treadle--connection (jsonrpc-running-p treadle--connection))
    (ignore-errors
      (treadle-call 'shutdown nil)
      (jsonrpc-notify treadle--connection 'exit nil))
    (let ((process (jsonrpc--process treadle--connection))
          (patience 100)) ; after SIGTERM, Emacs never learns that a process has exited
      (while (and (process-live-p process) (> (cl-decf patience) 0)) (sleep-for 0.02))
      (process-exit-status process))))

(add-hook 'kill-emacs-hook #'treadle-stop) ; otherwise Emacs would send it SIGHUP

(provide 'treadle-client)
;;; treadle-client.el ends here
